package peer

import "fmt"

// Version is the format of bodies and messages that this package writes.
const Version = 1

// Bounds of bodies. A sender starts a new body when it is about to pass BatchBytes, so that only a body with one single message is
// larger; receivers refuse what is above MaxBody.
const (
	BatchBytes = 64 << 10
	MaxBody    = 4 << 20
	// MaxMessage is the largest captured message: larger ones are refused before they get here.
	MaxMessage = 1 << 20
)

// Kind says which message follows.
type Kind uint8

// The kinds of messages. Numbers are part of the format and are never used again for something else.
const (
	KindReset     Kind = 1
	KindPing      Kind = 2
	KindPong      Kind = 3
	KindHello     Kind = 4
	KindWelcome   Kind = 5
	KindNotLeader Kind = 6

	KindPublish     Kind = 16
	KindAnswers     Kind = 17
	KindAckRefusals Kind = 18
	KindTopics      Kind = 19
	KindForgotten   Kind = 20

	KindAttach    Kind = 32
	KindAttached  Kind = 33
	KindCredit    Kind = 34
	KindDrained   Kind = 35
	KindDeliver   Kind = 36
	KindOutcome   Kind = 37
	KindCommitted Kind = 38
	KindLeave     Kind = 39
	KindLeft      Kind = 40
	KindState     Kind = 41
	KindEnded     Kind = 42
	KindWindow    Kind = 43

	KindRenew  Kind = 48
	KindLease  Kind = 49
	KindNotice Kind = 50
	KindMissed Kind = 51

	KindRequest  Kind = 64
	KindResponse Kind = 65
)

var kindNames = map[Kind]string{
	KindReset: "reset", KindPing: "ping", KindPong: "pong", KindHello: "hello", KindWelcome: "welcome", KindNotLeader: "not-leader",
	KindPublish: "publish", KindAnswers: "answers", KindAckRefusals: "ack-refusals", KindTopics: "topics", KindForgotten: "forgotten",
	KindAttach: "attach", KindAttached: "attached", KindCredit: "credit", KindDrained: "drained", KindDeliver: "deliver",
	KindOutcome: "outcome", KindCommitted: "committed", KindLeave: "leave", KindLeft: "left", KindState: "state", KindEnded: "ended",
	KindWindow: "window", KindRenew: "renew", KindLease: "lease", KindNotice: "notice", KindMissed: "missed", KindRequest: "request", KindResponse: "response",
}

func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Message is one message of a session: a pointer to one of the structs of this package.
//
// In a message that was received, byte slices (payloads) are parts of the body that it came in, which is the receiver's own.
type Message interface {
	Kind() Kind
	appendTo(b []byte) []byte
	decode(r *reader)
}

// Hello opens a session (agent to leader). The leader of a shard answers when an entry of its own term is applied and the lane
// is there, the leader of meta when the router is registered.
type Hello struct {
	Router string // the router's name: its node's
	Boot   uint64 // its incarnation; a later start has a higher one
	Lane   uint64 // its lane in this shard, 0 if it has none yet (and to meta)
	Term   uint64 // the highest term that it has seen a leader of this group in; a leader of a lower one answers NotLeader
}

// Welcome answers Hello; with it the session is open (leader to agent). Meta leaves the lane's fields zero.
type Welcome struct {
	Term uint64 // the leader's
	// Lane is the router's lane: the one of Hello, or a new one. If Hello named one and this is another, the shard has forgotten
	// that one: what is unanswered in it is unknown.
	Lane    uint64
	Last    uint64           // the last number of the lane that is in the shard's state
	Refused []RefusedPublish // numbers up to Last that were refused and not acknowledged
	// Pressure is the shard's as the session begins; Topics tells what it becomes.
	Pressure Pressure
}

// NotLeader answers Hello and ends the session (leader to agent). Leader may name the node to ask, or be empty.
type NotLeader struct {
	Leader string
}

// Reset ends a session at once (either side).
type Reset struct {
	Reason string
}

// Ping asks for a Pong, when there was nothing to send for a while. Both carry their sender's last seq in the header.
type (
	Ping struct{}
	Pong struct{}
)
