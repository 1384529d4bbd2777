package peer

// Level says how near a shard is to not being able to keep more.
type Level uint8

// Levels. Numbers are part of the format, and a higher one is worse.
const (
	LevelOK   Level = 0
	LevelLow  Level = 1 // publishers have less credit, and nothing is refused
	LevelFull Level = 2 // publishes are refused
)

func (l Level) String() string {
	switch l {
	case LevelOK:
		return "ok"
	case LevelLow:
		return "low"
	}
	return "full" // what a later version adds can only be worse
}

// Pressure says why publishers of a shard have less credit, or are refused: the nodes that keep it run out of something.
type Pressure struct {
	Level        Level
	Reason       Reason // of what: ReasonDisk, ReasonMemory; 0 at LevelOK
	RetryAfterMS uint32 // told to publishers that are refused
}

func (v *Pressure) appendTo(b []byte) []byte {
	return appendUint(append(b, byte(v.Level), byte(v.Reason)), uint64(v.RetryAfterMS))
}

// decode reads one, or leaves it as it is where the message ends: it came later than the fields before it.
func (v *Pressure) decode(r *reader) {
	if len(r.b) == 0 {
		return
	}
	v.Level = Level(r.byte())
	v.Reason = Reason(r.byte())
	v.RetryAfterMS = r.uint32()
}
