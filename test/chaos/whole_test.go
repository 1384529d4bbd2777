package chaos

import (
	"fmt"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// whole waits until a node's replicas of all groups vote and have all that their leaders have, by the word of each leader.
func whole(s *actor.Story, n *proc.Node) {
	s.T.Helper()
	var why string
	s.Eventually(func() bool {
		why = missing(s.Cluster, n)
		return why == ""
	}, func() string { return fmt.Sprintf("node %s is not whole: %s", n.Name, why) })
}

// missing says what a node lacks.
func missing(c *proc.Cluster, n *proc.Node) string {
	var own api.Cluster
	if err := n.Get(api.PathCluster, &own); err != nil {
		return err.Error()
	}
	if len(own.Groups) == 0 {
		return "no groups"
	}
	for _, g := range own.Groups {
		if g.Leader == "" {
			return "no leader of " + g.Name
		}
		if why := missingIn(c, g, n); why != "" {
			return fmt.Sprintf("%s, led by %s: %s", g.Name, g.Leader, why)
		}
	}
	return ""
}

func missingIn(c *proc.Cluster, g api.Group, n *proc.Node) string {
	for _, leader := range c.Nodes {
		if leader.Name != g.Leader {
			continue
		}
		var view api.Cluster
		if err := leader.Get(api.PathCluster, &view); err != nil {
			return err.Error()
		}
		for _, seen := range view.Groups {
			if seen.ID != g.ID {
				continue
			}
			for _, r := range seen.Replicas {
				if r.Node == n.Name && r.Voter && r.Live && r.Lag < 50 {
					return ""
				}
			}
			return fmt.Sprintf("%+v", seen.Replicas)
		}
	}
	return "it can't be asked"
}
