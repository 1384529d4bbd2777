package meta

import (
	"context"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// Requests to meta's leader beyond those of peer: for operators.
const (
	opCreate = "create"
	opList   = "list"
	opSet    = "set"
	opDrop   = "drop"
	opPolicy = "policy"
	opStatus = "status"

	opWithdraw = "withdraw"
)

// Ref says which subscription an operator means: its ID, or its Name (NAME, or container-id/link-name), of one owner or of
// whoever.
type Ref struct {
	ID       uint64 `json:"id,omitempty"`
	Name     string `json:"name,omitempty"`
	Owner    string `json:"owner,omitempty"`
	AnyOwner bool   `json:"any_owner,omitempty"`
}

// CreateRequest makes a subscription without a link, or finds it if there is one at the same address.
type CreateRequest struct {
	Owner    string        `json:"owner"`
	Name     string        `json:"name"`
	Address  string        `json:"address"`
	Terminus peer.Terminus `json:"terminus"` // zero: for ever
	Limits   peer.Limits   `json:"limits"`   // above a cap: refused
}

// ListRequest asks for subscriptions with higher ids than After, at most Limit (default and most: 500).
type ListRequest struct {
	After    uint64 `json:"after,omitempty"`
	Limit    int    `json:"limit,omitempty"`
	Ref      *Ref   `json:"ref,omitempty"`   // only this one: not found is an error
	Stats    bool   `json:"stats,omitempty"` // with figures from the shards
	Owner    string `json:"owner,omitempty"`
	AnyOwner bool   `json:"any_owner,omitempty"`
}

// ListResponse answers ListRequest. Next is the After of the next page; 0: there is none.
type ListResponse struct {
	Subscriptions []Info `json:"subscriptions"`
	Next          uint64 `json:"next,omitempty"`
}

// SetRequest changes limits: those that are not 0. Above a cap: refused.
type SetRequest struct {
	Ref
	Limits peer.Limits `json:"limits"`
}

// Info tells about a subscription.
type Info struct {
	ID          uint64        `json:"id"`
	Name        string        `json:"name"`
	Owner       string        `json:"owner"`
	ContainerID string        `json:"container_id,omitempty"`
	LinkName    string        `json:"link_name,omitempty"`
	Address     string        `json:"address"`
	Shard       uint32        `json:"shard"`
	State       string        `json:"state"`
	Reason      string        `json:"reason,omitempty"` // why it is being removed
	Terminus    peer.Terminus `json:"terminus"`
	Limits      peer.Limits   `json:"limits"`          // in force
	Asked       peer.Limits   `json:"asked"`           // 0: the policy's default
	LimitsAt    bool          `json:"limits_at_shard"` // the shard has them
	Generation  uint64        `json:"generation"`
	Router      string        `json:"router,omitempty"` // where its link is, by the shard if there are Stats; else where one was last heard of
	Left        int64         `json:"left,omitempty"`   // since when it has none, Unix milliseconds
	Created     int64         `json:"created"`          // Unix milliseconds
	CreatedBy   string        `json:"created_by"`
	// Missed is what routers that were cut off when the subscription was made may have let past it, Heard what the subscriber
	// has heard of that.
	Missed     peer.Missed       `json:"missed,omitzero"`
	Heard      peer.Missed       `json:"heard,omitzero"`
	Stats      *peer.CursorStats `json:"stats,omitempty"`
	StatsError string            `json:"stats_error,omitempty"` // why there are none
}

// Status is what the leader knows of routers, and totals.
type Status struct {
	Term             uint64         `json:"term"`
	Epoch            uint64         `json:"epoch"`
	Feature          uint32         `json:"feature"`
	Captures         int            `json:"captures"`
	Subscriptions    map[string]int `json:"subscriptions"` // by state
	Waiting          int            `json:"waiting"`       // for routers to confirm an epoch, or for their leases to run out
	Routers          []RouterStatus `json:"routers"`
	IsolatedMessages uint64         `json:"isolated_messages"` // let through by routers without a lease, ever
	IsolatedReports  uint64         `json:"isolated_reports"`
}

// RouterStatus tells about one incarnation of a router.
type RouterStatus struct {
	Name             string `json:"name"`
	Boot             uint64 `json:"boot"`
	Connected        bool   `json:"connected"`
	Lost             bool   `json:"lost"`     // its lease has run out
	LeaseMS          int64  `json:"lease_ms"` // how long it may still have one
	Confirmed        uint64 `json:"confirmed"`
	IsolatedPeriods  uint64 `json:"isolated_periods,omitempty"`
	IsolatedMessages uint64 `json:"isolated_messages,omitempty"`
}

type withdrawal struct {
	Router string `json:"router"`
	Boot   uint64 `json:"boot"`
}

// PolicyRequest replaces the policy of addresses.
type PolicyRequest struct {
	Policy peer.Policy `json:"policy"`
}

// Client asks meta's leader, wherever it is. Every call blocks until the answer or the end of its context, and may be made
// again. Refusals are of type *peer.Error.
type Client struct{ Caller Caller }

func (c Client) ask(ctx context.Context, op string, in, out any) error {
	return call(ctx, c.Caller, peer.MetaGroup, op, in, out)
}

// Create makes a subscription without a link. It returns when every publish that begins from here on is captured.
func (c Client) Create(ctx context.Context, in CreateRequest) (Info, error) {
	var out Info
	err := c.ask(ctx, opCreate, in, &out)
	return out, err
}

// List gives one page of subscriptions.
func (c Client) List(ctx context.Context, in ListRequest) (ListResponse, error) {
	var out ListResponse
	err := c.ask(ctx, opList, in, &out)
	return out, err
}

// Set changes limits, and returns when the shard has them.
func (c Client) Set(ctx context.Context, in SetRequest) (Info, error) {
	var out Info
	err := c.ask(ctx, opSet, in, &out)
	return out, err
}

// Drop ends a subscription. It returns when that is decided for good and its names are free; its backlog goes soon after.
func (c Client) Drop(ctx context.Context, ref Ref) error { return c.ask(ctx, opDrop, ref, nil) }

// SetPolicy replaces the policy, and returns when every router with a lease treats publishes by it.
func (c Client) SetPolicy(ctx context.Context, p peer.Policy) error {
	return c.ask(ctx, opPolicy, PolicyRequest{p}, nil)
}

// Status tells about routers, leases and totals.
func (c Client) Status(ctx context.Context) (Status, error) {
	var out Status
	err := c.ask(ctx, opStatus, struct{}{}, &out)
	return out, err
}

// Withdraw says that an incarnation of a router has stopped for good and lets nothing through any more. Activations need not
// wait for its lease.
func (c Client) Withdraw(ctx context.Context, router string, boot uint64) error {
	return c.ask(ctx, opWithdraw, withdrawal{router, boot}, nil)
}

// Ended returns those of subs that are over: a shard may drop their cursors.
func (c Client) Ended(ctx context.Context, subs []uint64) ([]uint64, error) {
	var out peer.HeldResponse
	err := c.ask(ctx, peer.OpHeld, peer.HeldRequest{Subs: subs}, &out)
	return out.Ended, err
}
