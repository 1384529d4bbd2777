package cli

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/config"
)

func newCluster(c *common) *cobra.Command {
	cluster := &cobra.Command{Use: "cluster", Short: "Look at the cluster", Example: "  posthouse cluster status", RunE: onlyHelp}
	cluster.AddCommand(&cobra.Command{
		Use:   "status",
		Short: "Show nodes, shards, leaders and lag",
		Long:  "Show the nodes and the replicated groups (meta and the shards), as the node that is asked sees them.\nExits with 1 if a group has no leader.",
		Example: `  posthouse cluster status
  posthouse cluster status --api http://10.0.0.2:8672 --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s api.Cluster
			if err := c.call(cmd.Context(), http.MethodGet, api.PathCluster, nil, &s); err != nil {
				return err
			}
			if c.output == "json" {
				if err := printJSON(cmd.OutOrStdout(), s); err != nil {
					return err
				}
			} else if err := printCluster(cmd.OutOrStdout(), &s); err != nil {
				return err
			}
			for _, g := range s.Groups {
				if g.Leader == "" {
					return fmt.Errorf("%s has no leader: a majority of its nodes must be running and reach each other", g.Name)
				}
			}
			return nil
		},
	})
	return cluster
}

func printCluster(w io.Writer, s *api.Cluster) error {
	fmt.Fprintf(w, "cluster %s, seen from node %s\n\n", s.ID, s.Node)
	t := newTable(w, "NODE", "ROUTER", "REPLICAS", "LEADS", "DISK", "FREE")
	for _, n := range s.Nodes {
		disk := ""
		if n.FreeDisk > 0 {
			disk = config.FormatSize(n.FreeDisk)
		}
		t.row(n.Name, upDown(n.Connected), upDown(n.Live), n.Leads, n.Disk, disk)
	}
	if err := t.flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	t = newTable(w, "GROUP", "LEADER", "TERM", "APPLIED", "LOG", "REPLICAS (LAG)")
	for _, g := range s.Groups {
		t.row(g.Name, g.Leader, g.Term, g.Applied, config.FormatSize(g.LogBytes), replicas(g.Replicas))
	}
	return t.flush()
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func replicas(all []api.Replica) string {
	texts := make([]string, len(all))
	for i, r := range all {
		state := fmt.Sprint(r.Lag)
		if !r.Live {
			state = "down"
		}
		if !r.Voter {
			state += ", catching up"
		}
		texts[i] = fmt.Sprintf("%s (%s)", r.Node, state)
	}
	return strings.Join(texts, " ")
}
