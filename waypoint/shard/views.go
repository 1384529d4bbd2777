package shard

// Topic describes a topic.
type Topic struct {
	ID      uint64
	Address string
	Head    Position // its last message
	Tail    Position // up to here everything is deleted
	Floor   Position // the lowest floor of its cursors: up to here nobody needs anything
	Kept    Totals   // what is on disk: beyond Tail, less what was deleted inside
	Cursors int
}

// Cursor describes a cursor at an applied index.
type Cursor struct {
	Sub     uint64
	Topic   uint64
	Address string
	Owner   string
	Name    string
	Limits  Limits
	Gen     uint64
	Holders []Holder // who may hold deliveries
	Mark    uint64   // positions up to here may have been handed out

	Start     Position
	Floor     Position // up to here all is confirmed or given up
	Ranges    int      // above the floor
	Backlog   Totals
	Confirmed Totals
	GivenUp   Totals         // sum of ByCause
	ByCause   [Causes]Totals // given up
	Gap       Gap
}

// Holder is a link that may hold deliveries.
type Holder struct {
	Router string
	Boot   uint64
	Gen    uint64
}

// Settled is a range of a cursor above its floor: confirmed if Cause is zero, else given up.
type Settled struct {
	Range
	Cause Cause
}

// Gap is what a cursor gave up and its subscriber has not confirmed to have heard.
type Gap struct {
	Version  uint64 // the entry that last grew it; zero if there is none
	Messages uint64
	Bytes    uint64
	Causes   [Causes]uint64 // messages
	Ranges   []GapRange     // oldest first, at most MaxGapRanges
}

// MaxGapRanges is how many ranges a Gap has at most; beyond that neighbours collapse into one that covers both.
const MaxGapRanges = 16

// GapRange is one part of a gap. From and Through enclose it; it has Messages messages, which may be fewer than lie
// between if ranges collapsed.
type GapRange struct {
	Version  uint64
	Topic    uint64
	From     uint64
	Through  uint64
	Messages uint64
	Bytes    uint64
	Cause    Cause // the one with most messages in it
}

// Lane describes a router's lane.
type Lane struct {
	ID      uint64 // its incarnation
	Router  string
	Boot    uint64
	Last    uint64 // its last number that is in
	Active  int64  // when something of it last came in, Unix milliseconds
	Refused int    // refusals not acknowledged
}

// Refused is a refused number of a lane.
type Refused struct {
	N       uint64
	Refusal Refusal
}

// Message is a message as it is kept.
type Message struct {
	Seq     uint64
	Time    int64  // the entry's, Unix milliseconds
	Before  Totals // of the topic, up to but not including it
	At      Totals // and including it
	Payload []byte // valid until the next move of whoever gave it
}

// Range is the range of this message alone.
func (m Message) Range() Range { return Range{From: m.Seq, Through: m.Seq, Before: m.Before, At: m.At} }
