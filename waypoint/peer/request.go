package peer

// Requests to meta's leader: their op, and the JSON bodies of request and response. All are idempotent by content, so a
// caller that got no answer simply asks again.
const (
	// OpOpen attaches a link to a subscription: OpenRequest, OpenResponse. It finds the subscription by its identity or makes it, waits until
	// it is active, and takes a new generation. Asking again takes another generation; the one that is not used harms nothing.
	OpOpen = "open"
	// OpLookup finds a subscription without attaching to it: LookupRequest, LookupResponse.
	OpLookup = "lookup"
	// OpRemove ends a subscription: RemoveRequest, no body. One that is gone already is a success.
	OpRemove = "remove"
	// OpLeave tells that a link is gone whose subscription stays, and why, so that meta knows when its timeout begins: LeaveRequest, no
	// body. A late or repeated one does nothing.
	OpLeave = "leave"
	// OpHeld is asked by a shard's leader: HeldRequest, HeldResponse.
	OpHeld = "held"
	// OpIsolated reports what a router let through while it had no lease: IsolatedReport, no body.
	OpIsolated = "isolated"
	// OpHeard tells that a subscriber has confirmed a message that told it what it has missed: HeardRequest, no body.
	OpHeard = "heard"
)

// Identity says which subscription is meant: owner and name, or owner, container-id and link name.
type Identity struct {
	Owner       string `json:"owner"`
	ContainerID string `json:"container_id,omitempty"`
	LinkName    string `json:"link_name,omitempty"`
	Name        string `json:"name,omitempty"` // if set, ContainerID and LinkName say only who asks
}

// Terminus is what a durable source was attached as.
type Terminus struct {
	Durable      uint32 `json:"durable"`       // terminus-durability
	ExpiryPolicy string `json:"expiry_policy"` // terminus-expiry-policy
	Timeout      uint32 `json:"timeout,omitempty"`
	// Capabilities of the source that were honoured.
	Capabilities []string `json:"capabilities,omitempty"`
}

// OpenRequest is the body of OpOpen.
type OpenRequest struct {
	Identity
	Address  string   `json:"address"`
	Terminus Terminus `json:"terminus"`
	Limits   Limits   `json:"limits"` // what the subscriber named
	Router   string   `json:"router"`
	Boot     uint64   `json:"boot"`
}

// OpenResponse is the answer to OpOpen.
type OpenResponse struct {
	Sub      uint64   `json:"sub"`
	Gen      uint64   `json:"gen"`
	Name     string   `json:"name"` // what log, metrics and the CLI call it
	Address  string   `json:"address"`
	Terminus Terminus `json:"terminus"`
	Limits   Limits   `json:"limits"` // in force: as adjusted to the policy's caps
	Shards   []uint32 `json:"shards"` // where its cursors are
	Created  bool     `json:"created"`
	Missed   Missed   `json:"missed,omitzero"`
	Heard    Missed   `json:"heard,omitzero"` // of Missed
}

// LookupRequest is the body of OpLookup.
type LookupRequest struct {
	Identity
}

// LookupResponse is the answer to OpLookup. A subscription that is not there is refused with amqp:not-found.
type LookupResponse struct {
	Sub      uint64   `json:"sub"`
	Name     string   `json:"name"`
	Address  string   `json:"address"`
	Terminus Terminus `json:"terminus"`
	Limits   Limits   `json:"limits"`
	Missed   Missed   `json:"missed,omitzero"`
	Heard    Missed   `json:"heard,omitzero"`
}

// RemoveRequest is the body of OpRemove.
type RemoveRequest struct {
	Sub   uint64 `json:"sub"`
	Owner string `json:"owner"`
	// Gen, if not 0: only while this generation is the newest, so that a link whose subscription was taken over does not remove it.
	Gen uint64 `json:"gen,omitempty"`
}

// What ended a link, in the order of the terminus expiry policies (3.5.6).
const (
	EventLinkDetach      = "link-detach"
	EventSessionEnd      = "session-end"
	EventConnectionClose = "connection-close"
)

// LeaveRequest is the body of OpLeave. It may come again when the session or connection of a detached link ends later.
type LeaveRequest struct {
	Sub   uint64 `json:"sub"`
	Gen   uint64 `json:"gen"`
	Event string `json:"event"`
}

// HeldRequest is the body of OpHeld: the subscriptions that a shard has cursors of. It asks after each election, and every few minutes.
type HeldRequest struct {
	Subs []uint64 `json:"subs"`
}

// HeldResponse answers OpHeld with those that meta has ended, or never made: to be dropped.
type HeldResponse struct {
	Ended []uint64 `json:"ended,omitempty"`
}

// HeardRequest is the body of OpHeard.
type HeardRequest struct {
	Sub    uint64 `json:"sub"`
	Missed Missed `json:"missed"`
}

// IsolatedReport is the body of OpIsolated. It is sent after each period without a lease in which direct publishes were
// let through, also if there were none, so that meta need not wait for it.
type IsolatedReport struct {
	Router string            `json:"router"`
	Boot   uint64            `json:"boot"`
	Period uint64            `json:"period"` // 1, 2, ... in this incarnation
	From   int64             `json:"from"`   // Unix milliseconds, by the router's clock
	Until  int64             `json:"until"`
	Counts []IsolatedAddress `json:"counts,omitempty"`
	// Other counts what was let through to addresses that the bounded table had no room for.
	Other uint64 `json:"other,omitempty"`
}

// IsolatedAddress counts what was let through to one address.
type IsolatedAddress struct {
	Address  string `json:"address"`
	Messages uint64 `json:"messages"`
}
