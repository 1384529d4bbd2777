// Package routing breaks connections between the nodes of a real cluster, while the nodes live.
package routing

import (
	"os"
	"testing"

	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// cluster is three nodes that reach each other through proxies, for all tests of the package.
var cluster = proc.Shared{Options: proc.Options{Proxies: true}}

// roomy limits let a backlog grow as far as any test here lets it.
var roomy = map[string]any{client.PropMaxMessages: uint64(5_000_000), client.PropMaxBytes: uint64(4 << 30)}

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
