package interop

import (
	"os"
	"testing"
	"time"

	"github.com/posthouse/posthouse/test/proc"
)

// patience bounds every wait for something that must happen.
const patience = 60 * time.Second

// shared is the one cluster of this package. Its idle time-out is short enough to see heart-beats, and long enough for
// a client that waits for its turn on a busy machine.
var shared = proc.Shared{Options: proc.Options{
	Env:    map[string]string{"POSTHOUSE_AMQP_IDLE_TIMEOUT": idleTimeout.String()},
	Config: "users:\n  - {name: alice, password: open sesame}\n",
}}

const idleTimeout = 8 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	shared.End()
	removePeers()
	proc.RemoveBinaries()
	os.Exit(code)
}

// cluster is the shared cluster, for this test.
func cluster(t *testing.T) (a, b, c *proc.Node) {
	t.Helper()
	nodes := shared.For(t).Nodes
	return nodes[0], nodes[1], nodes[2]
}
