package shard

// Result is what Apply tells the proposer of a command. It holds nothing of the command's bytes.
type Result struct {
	Index uint64 // of the entry
	Time  int64  // of the entry, Unix milliseconds

	Lanes    []Lane          // for each LaneOpen
	Started  []Started       // for each Start
	Attached []bool          // for each Attach: taken, or too late
	Publish  []PublishResult // for each Publish
	Trimmed  Totals          // what the Trims deleted

	// Faults are parts of the command that can't be right (an unknown cause, totals that don't fit the cursor):
	// left out, and a bug of whoever made them. What merely came too late is not a fault.
	Faults []Fault
	// Err is why nothing of the command was applied: its bytes make no sense.
	Err error
}

// Started is the answer to a Start.
type Started struct {
	Sub     uint64
	Topic   uint64
	Found   bool     // it had a cursor already
	Start   Position // where it began
	Refused bool     // it can't have one: another address than it had, or no address
}

// Status says what became of a publish.
type Status uint8

const (
	StatusKept Status = iota
	StatusNoView
	StatusRefused
	StatusRepeated // its number was in already: nothing happened
	StatusJumped   // its number is not the next one: nothing happened
	StatusNoLane   // its lane is not known: nothing happened
)

// PublishResult is what became of a publish: if it was kept, where.
type PublishResult struct {
	Status Status
	Topic  uint64
	At     Position
}

// Fault names a part of a command that was left out because it can't be right.
type Fault struct {
	Part   string // the field of Command
	Item   int    // its index there
	Sub    uint64 // whom it concerned, if anyone
	Reason string
}
