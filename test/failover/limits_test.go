package failover

import (
	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/client"
)

// Limits that let a backlog grow as far as any test here lets it: in a subscriber's words, and in an operator's.
var (
	roomy       = map[string]any{client.PropMaxMessages: uint64(5_000_000), client.PropMaxBytes: uint64(4 << 30)}
	roomyLimits = api.Limits{MaxMessages: 5_000_000, MaxBytes: 4 << 30, MaxInFlight: 2000}
)
