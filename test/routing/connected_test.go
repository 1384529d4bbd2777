package routing

import (
	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/test/actor"
)

// connected tells whether each node says that it reaches all others.
func connected(s *actor.Story) bool {
	for _, n := range s.Cluster.Nodes {
		var c api.Cluster
		if n.Get(api.PathCluster, &c) != nil {
			return false
		}
		for _, m := range c.Nodes {
			if !m.Connected {
				return false
			}
		}
	}
	return true
}
