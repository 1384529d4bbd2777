// Package api is the admin API as JSON: what `/v1` answers and takes. The server, the command line and the tests
// share these types; API.md beside this file is the page for everybody else.
//
// Times are RFC 3339, durations are text as in the configuration ("30s", "7d"), sizes are bytes.
package api

import "time"

// Paths of the API.
const (
	PathNode          = "/v1/node"
	PathCluster       = "/v1/cluster"
	PathSubscriptions = "/v1/subscriptions"
	PathHealth        = "/healthz"
	PathReady         = "/readyz"
	PathMetrics       = "/metrics"
)

// Node is the node that was asked.
type Node struct {
	Name     string    `json:"name"`
	Cluster  string    `json:"cluster"`
	Version  string    `json:"version"`
	Started  time.Time `json:"started"`
	AMQP     string    `json:"amqp"`
	Formed   bool      `json:"formed"`   // it is part of a cluster
	Isolated bool      `json:"isolated"` // it has no live lease: durable subscriptions made now may miss what it lets through
	Ready    bool      `json:"ready"`    // it takes publishers and subscribers, durable ones too
	Reasons  []string  `json:"reasons,omitempty"`
}

// Cluster is all nodes and groups, as the node that was asked sees them.
type Cluster struct {
	ID     string   `json:"id"`
	Node   string   `json:"node"`
	Nodes  []Member `json:"nodes"`
	Groups []Group  `json:"groups"`
}

// Member is a configured node.
type Member struct {
	Name      string `json:"name"`
	Raft      string `json:"raft,omitempty"`
	Router    string `json:"router,omitempty"`
	Connected bool   `json:"connected"` // its router can be reached
	Live      bool   `json:"live"`      // its replicas have been heard lately
	FreeDisk  int64  `json:"freeDisk"`
	Disk      string `json:"disk,omitempty"` // ok, low (publishers have less credit) or full (durable publishes are refused)
	Leads     int    `json:"leads"`          // groups that it leads
}

// Group is a Raft group: `meta` or a shard.
type Group struct {
	ID       uint32    `json:"id"`
	Name     string    `json:"name"`
	Leader   string    `json:"leader,omitempty"` // empty: none is known
	Term     uint64    `json:"term"`
	Applied  uint64    `json:"applied"` // on the node that was asked
	Commit   uint64    `json:"commit"`
	LogBytes int64     `json:"logBytes"`
	Replicas []Replica `json:"replicas"`
}

// Replica is a member of a group.
type Replica struct {
	Node    string `json:"node"`
	Voter   bool   `json:"voter"`
	Live    bool   `json:"live"`
	Applied uint64 `json:"applied"`
	Lag     uint64 `json:"lag"` // entries behind the leader's last
}

// Limits bound a backlog. Zero and empty fields of a request leave what is in force.
type Limits struct {
	MaxMessages int64  `json:"maxMessages,omitempty"`
	MaxBytes    int64  `json:"maxBytes,omitempty"`
	MaxAge      string `json:"maxAge,omitempty"`
	MaxInFlight int64  `json:"maxInFlight,omitempty"`
	Overflow    string `json:"overflow,omitempty"` // drop-oldest, reject
}

// Subscription is a durable subscription.
type Subscription struct {
	ID         uint64            `json:"id"`
	Name       string            `json:"name"` // what the CLI calls it: NAME, or container-id/link-name
	Owner      string            `json:"owner"`
	Address    string            `json:"address"`
	State      string            `json:"state"`
	Shard      uint32            `json:"shard"`
	Generation uint64            `json:"generation"`
	Created    time.Time         `json:"created"`
	Limits     Limits            `json:"limits"`
	Messages   uint64            `json:"messages"` // backlog
	Bytes      uint64            `json:"bytes"`
	OldestAge  string            `json:"oldestAge,omitempty"`
	InFlight   uint64            `json:"inFlight"`
	Attached   string            `json:"attached,omitempty"` // node of its link
	Captured   uint64            `json:"captured"`
	Confirmed  uint64            `json:"confirmed"`
	GivenUp    uint64            `json:"givenUp"`
	Causes     map[string]uint64 `json:"causes,omitempty"` // given up, by cause
	Unheard    uint64            `json:"unheard"`          // given up and not yet heard of by the subscriber
	Pinned     uint64            `json:"pinned"`           // bytes on disk that only it needs
	Isolated   *Isolated         `json:"isolated,omitempty"`
	Error      string            `json:"error,omitempty"` // why the figures above, but for Isolated, are missing
}

// Isolated is what nodes that were cut off when a subscription was made may have let past it: a gap that is no part of
// Captured and GivenUp, since it was never captured.
type Isolated struct {
	AtMost  uint64 `json:"atMost"`  // messages, by what these nodes have reported
	Unheard uint64 `json:"unheard"` // of these, not yet heard of by the subscriber
	Unknown uint64 `json:"unknown"` // nodes that have not reported yet
}

// SubscriptionRequest creates a subscription (POST) or changes one (PATCH, Limits only).
type SubscriptionRequest struct {
	Name    string `json:"name,omitempty"`
	Owner   string `json:"owner,omitempty"`
	Address string `json:"address,omitempty"`
	Limits  Limits `json:"limits"`
}

// Error is the body of every answer that is not 2xx.
type Error struct {
	Condition string `json:"condition"` // AMQP error condition
	Message   string `json:"message"`
}

func (e *Error) Error() string { return e.Message }
