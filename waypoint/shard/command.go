package shard

// Command is one change of a shard, made by its leader and applied by all replicas. Its parts are applied in the
// order of its fields; a part that does not fit (any more) is left out, on every replica alike, and the Result says so.
//
// Facts that Apply would otherwise have to read from disk, or decide, are in the command: the totals of ranges, whether
// a publish is kept, what a limit gives up.
type Command struct {
	LaneOpen    []LaneOpen
	LaneForget  []uint64 // lanes
	Start       []Start
	End         []uint64 // subscriptions
	Limits      []SetLimits
	Attach      []Attach
	Leave       []Leave
	AckRefusals []AckRefusals
	Confirm     []Confirm
	Fail        []Fail
	Rejected    []Confirm
	GiveUp      []GiveUp
	Heard       []Heard
	Mark        []Mark
	Trim        []Trim
	Publish     []Publish
	Evict       []GiveUp // as GiveUp, after Publish: what these publishes push out
}

// LaneOpen opens the lane of a router's incarnation, or finds it if there is one.
type LaneOpen struct {
	Router string
	Boot   uint64
}

// Start makes a cursor at the end of a topic, and the topic if this is its first. If the subscription has a cursor,
// nothing happens.
type Start struct {
	Sub     uint64 // the subscription's id, never used twice
	Address string
	Limits  Limits
	Owner   string
	Name    string
}

// SetLimits replaces the limits of a subscription. What they no longer allow stays until it is given up.
type SetLimits struct {
	Sub    uint64
	Limits Limits
}

// Attach makes a router's link the one that gets the subscription's deliveries. Only a higher generation than the
// last one does anything. Mark as in Mark.
type Attach struct {
	Sub    uint64
	Gen    uint64
	Router string
	Boot   uint64
	Mark   uint64
}

// Leave says that the holder of that generation holds no deliveries any more. If none is left then, and Mark is not zero,
// the cursor's mark comes down to Mark (not below its floor): no position above it was ever handed out, to this holder or
// one before it. A leader who can't know that (it found a higher mark when it took over) leaves it zero, or gives the mark that
// it found.
type Leave struct {
	Sub  uint64
	Gen  uint64
	Mark uint64
}

// AckRefusals forgets the refused numbers of a lane up to and including Through: its router knows them.
type AckRefusals struct {
	Lane    uint64
	Through uint64
}

// Confirm takes ranges as confirmed (or, as Command.Rejected, as given up with CauseRejected). What is confirmed or
// given up already stays what it is.
type Confirm struct {
	Sub    uint64
	Ranges []Range
}

// GiveUp gives ranges up for a cause. What is confirmed or given up already stays what it is.
type GiveUp struct {
	Sub    uint64
	Cause  Cause
	Ranges []Range
}

// Fail sets the number of failed deliveries of an unconfirmed message. A number that is not above the one that is kept
// does nothing.
type Fail struct {
	Sub   uint64
	Seq   uint64
	Count uint32
}

// Heard says that the subscriber knows its gap as it was in that version. What was added later stays.
type Heard struct {
	Sub     uint64
	Version uint64
}

// Mark says that positions up to and including Mark may be handed out from now on. A lower one than before does nothing.
type Mark struct {
	Sub  uint64
	Mark uint64
}

// Trim deletes messages that no cursor needs. What one still needs stays, whatever the range says.
type Trim struct {
	Topic uint64 // the topic's id
	Range Range
}

// Verdict says what the leader decided on a publish.
type Verdict uint8

// Verdicts. Numbers are part of the format.
const (
	Keep   Verdict = 0 // keep it, if its address still has a topic
	NoView Verdict = 1 // no subscription wants it
	Refuse Verdict = 2 // Refusal says why
	Void   Verdict = 3 // its router gave it up: a refusal with ReasonVoid
)

// Publish takes the next number of a lane.
type Publish struct {
	Lane    uint64
	N       uint64
	Verdict Verdict
	Address string
	Payload []byte
	Refusal *Refusal // of Refuse
}
