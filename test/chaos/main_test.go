// Package chaos breaks the disks and the connections of real clusters, and what stopped nodes have on their disks, and
// finds every promise kept. The nodes are built with the tag posthouse_faults: their disks do what the test says.
package chaos

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

var long = flag.Bool("long", false, "every damage to every class of file, and every way to cut connections")

// cluster is three nodes, for all tests of the package. Its nodes are reached through proxies.
var cluster = proc.Shared{Options: proc.Options{Tags: []string{"posthouse_faults"}, Proxies: true}}

// sockets is where the nodes listen for what their disks are to do. The paths of sockets must be short.
var sockets string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if sockets, err = os.MkdirTemp("", "ph"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(sockets)
	cluster.Options.Env = map[string]string{"POSTHOUSE_TEST_FAULTS": filepath.Join(sockets, "$NODE")}
	defer proc.RemoveBinaries()
	defer cluster.End()
	return m.Run()
}

// begin opens a story on the cluster, whose disks work again when it is over.
func begin(t *testing.T) *actor.Story {
	t.Helper()
	s := actor.Begin(t, cluster.For(t))
	t.Cleanup(func() { // before the actors are stopped, who may wait for what hangs
		for i, n := range s.Cluster.Nodes {
			s.Cluster.Rejoin(i)
			os.Remove(atStart(n))
			if n.Running() {
				tryDrive(n, "clear")
				tryDrive(n, "free off")
			}
		}
	})
	return s
}

// roomy limits let a backlog grow as far as any test here lets it.
var roomy = map[string]any{client.PropMaxMessages: uint64(5_000_000), client.PropMaxBytes: uint64(4 << 30)}
