// Package failover breaks nodes of real clusters, and finds every promise kept.
package failover

import (
	"os"
	"testing"

	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// cluster is three nodes, for all tests of the package.
var cluster proc.Shared

func TestMain(m *testing.M) {
	code := m.Run()
	cluster.End()
	proc.RemoveBinaries()
	os.Exit(code)
}

func begin(t *testing.T) *actor.Story {
	t.Helper()
	return actor.Begin(t, cluster.For(t))
}
