package meta

import (
	"fmt"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// State says how far a subscription is. Numbers are part of the format.
type State uint8

// A subscription is Creating until every router captures its address, then Active, then Removing until nothing is left
// of it. There is no way back.
const (
	Creating State = 1
	Active   State = 2
	Removing State = 3
)

func (s State) String() string {
	switch s {
	case Creating:
		return "creating"
	case Active:
		return "active"
	case Removing:
		return "removing"
	}
	return fmt.Sprintf("state-%d", uint8(s))
}

// Subscription is a durable subscription as it is kept. Copies are handed out; Gaps is shared and never changed.
type Subscription struct {
	// ID is the index of the entry that made it and its place among those made by the same entry, in one number
	// (SubscriptionID): it never comes back.
	ID       uint64
	Identity peer.Identity
	Address  string
	Terminus peer.Terminus // as attached last; Capabilities as attached first

	Asked  peer.Limits // what subscriber and operator have named; 0: the policy's default
	Named  peer.Limits // what the last attach named, so that only a changed one acts again
	Limits peer.Limits // in force

	// LimitsVersion is the index of the entry that set Limits, LimitsKept the one whose limits the shard is known to have.
	LimitsVersion, LimitsKept uint64

	State State
	// Captured says that it counts in the capture of its address. Epoch is what routers must have confirmed before the next
	// step: that at which the capture last appeared, or vanished; 0: none.
	Captured  bool
	Epoch     uint64
	Activated uint64 // index of the entry that made it Active; 0: not yet

	Gen    uint64 // of the newest link; 0: none yet
	Holder Holder // who has or had that link
	// Left is when the link went away (or, without one, when the subscription was made), in the entry's time; 0 while
	// there is a link. LeftBy is what ended it.
	Left   int64
	LeftBy Event

	Created   int64  // Unix milliseconds, the entry's
	CreatedBy string // who asked: "link" or "operator"
	Replaces  uint64 // the subscription that ends when this one becomes active; 0: none
	Reason    string // why it is Removing

	// Gaps are the routers that were cut off when it became active. Heard is what its subscriber knows of them.
	Gaps  []IsolatedGap
	Heard peer.Missed
}

// Missed adds the gaps up.
func (s *Subscription) Missed() (m peer.Missed) {
	for _, g := range s.Gaps {
		m.AtMost += g.AtMost
		if !g.Known {
			m.Unknown++
		}
	}
	return m
}

// Holder is where a link is.
type Holder struct {
	Router string
	Boot   uint64
}

// IsolatedGap says what a router that was cut off may have let through past a new subscription.
type IsolatedGap struct {
	Holder
	Known  bool   // the router is back and has reported
	AtMost uint64 // messages reported so far
}

// Event is what ended a link, in the order of the terminus expiry policies (3.5.3).
type Event uint8

// Events. Numbers are part of the format.
const (
	LinkDetached     Event = 1
	SessionEnded     Event = 2
	ConnectionClosed Event = 3
	RouterLost       Event = 4 // its connection is taken as closed, until the router is back
)

// placeBits is how much of an id is the place in the entry.
const placeBits = 12

// maxPlaces is how many subscriptions one entry may make.
const maxPlaces = 1 << placeBits

// SubscriptionID is the id of the subscription that the entry at index has made as its n-th, from 0.
func SubscriptionID(index uint64, n int) uint64 { return index<<placeBits | uint64(n) }

// createdAt is the index of the entry that made the subscription.
func createdAt(id uint64) uint64 { return id >> placeBits }

// Name is what log, metrics and the CLI call the subscription.
func (s *Subscription) Name() string { return displayName(s.Identity) }

func displayName(i peer.Identity) string {
	if i.Name != "" {
		return i.Name
	}
	return i.ContainerID + "/" + i.LinkName
}

// ExpiresAfter is how long the subscription outlives its link, in milliseconds; false: for ever.
//
// 3.5.3: the timer starts with the event that the expiry policy names, and an absent policy is session-end.
func (s *Subscription) ExpiresAfter() (int64, bool) {
	if s.Terminus.ExpiryPolicy == "never" {
		return 0, false
	}
	return int64(s.Terminus.Timeout) * 1000, true
}

// expiresAt is when the subscription ends if nobody attaches, in the entries' time.
func (s *Subscription) expiresAt() (int64, bool) {
	after, ends := s.ExpiresAfter()
	if !ends || s.Left == 0 || s.State != Active {
		return 0, false
	}
	starts := SessionEnded
	switch s.Terminus.ExpiryPolicy {
	case "link-detach":
		starts = LinkDetached
	case "connection-close":
		starts = ConnectionClosed
	}
	if s.LeftBy < starts {
		return 0, false
	}
	return s.Left + after, true
}

// key is what makes a subscription's names unique: NAME, or container-id and link name. The owner is not part of it, so
// that another user with the same names is refused instead of getting a backlog of his own.
type key struct{ name, container, link string }

func keyOf(i peer.Identity) key {
	if i.Name != "" {
		return key{name: i.Name}
	}
	return key{container: i.ContainerID, link: i.LinkName}
}

// Router is an incarnation of a router as it is kept.
type Router struct {
	Name       string
	Boot       uint64
	Registered uint64 // index of the entry that registered it last
	Lost       uint64 // index of the entry that said that its lease has run out; 0: it may have one
	Seen       int64  // when it was registered or lost last, in the entry's time

	// What it has reported to have let through while it was cut off.
	Periods  uint64 // the last period reported
	Messages uint64
}

// Holder is the router's incarnation as subscriptions name it.
func (r *Router) Holder() Holder { return Holder{Router: r.Name, Boot: r.Boot} }

// Capture says that publishes to an address go to its shard.
type Capture struct {
	Address  string
	Count    uint64 // subscriptions that need it
	Appeared uint64 // epoch since which it has been there without a break
}
