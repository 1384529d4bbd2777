// Package durable shows what a durable subscription is to its subscriber, its publishers and its operator, on a real
// cluster: limits, outcomes, identity, memory and disk.
package durable

import (
	"os"
	"testing"

	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// config lets subscribers of strict.# choose overflow=reject, and caps those of capped.#.
const config = `
memory: 512MiB
users:
  - {name: alice, password: secret-a}
  - {name: bob, password: secret-b}
policies:
  - {pattern: strict.#, allow-reject: true}
  - {pattern: capped.#, max-messages: 100, max-bytes: 1MiB, max-age: 1h, max-in-flight: 20}
`

var cluster = proc.Shared{Options: proc.Options{Config: config}}

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

// roomy limits let a backlog grow as far as any test here lets it.
var roomy = map[string]any{client.PropMaxMessages: uint64(5_000_000), client.PropMaxBytes: uint64(4 << 30)}
