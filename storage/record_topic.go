package storage

import "encoding/binary"

// HeaderRecord holds the counters of a shard.
type HeaderRecord struct {
	LastSeq   uint64
	LastTopic uint64
	LastLane  uint64
	Time      int64 // of the entry that wrote it, Unix milliseconds
}

// Append appends the record.
func (h *HeaderRecord) Append(b []byte) []byte {
	b = appendRecord(b)
	b = binary.AppendUvarint(b, h.LastSeq)
	b = binary.AppendUvarint(b, h.LastTopic)
	b = binary.AppendUvarint(b, h.LastLane)
	return binary.AppendUvarint(b, uint64(h.Time))
}

// Decode reads the record.
func (h *HeaderRecord) Decode(b []byte) error {
	f := openRecord(b)
	*h = HeaderRecord{LastSeq: f.Uint(), LastTopic: f.Uint(), LastLane: f.Uint(), Time: int64(f.Uint())}
	return closeRecord(&f, "header")
}

// TopicRecord is a topic. Where it ends is not in it, so that a publish does not write it: the last message says so, or
// the last hole, or the tail if there is neither.
type TopicRecord struct {
	Address string
	TailSeq uint64 // up to here everything is deleted; where the topic began, at first
	Tail    Totals // up to there
}

// Append appends the record.
func (t *TopicRecord) Append(b []byte) []byte {
	b = appendRecord(b)
	b = AppendText(b, t.Address)
	b = binary.AppendUvarint(b, t.TailSeq)
	return AppendTotals(b, t.Tail)
}

// Decode reads the record.
func (t *TopicRecord) Decode(b []byte) error {
	f := openRecord(b)
	*t = TopicRecord{Address: f.Text(), TailSeq: f.Uint(), Tail: f.Totals()}
	return closeRecord(&f, "topic")
}

// SpanRecord is what a hole of a topic and a settled range of a cursor keep beside their key, which has the first
// position: the last one, and the topic's totals before the first and up to the last. Cause is zero for a hole, and for
// what was confirmed.
type SpanRecord struct {
	Through uint64
	Before  Totals
	At      Totals
	Cause   Cause
}

// Append appends the record.
func (s *SpanRecord) Append(b []byte) []byte {
	b = appendRecord(b)
	b = append(b, byte(s.Cause))
	b = binary.AppendUvarint(b, s.Through)
	b = AppendTotals(b, s.Before)
	return AppendTotals(b, s.At.Sub(s.Before))
}

// Decode reads the record.
func (s *SpanRecord) Decode(b []byte) error {
	f := openRecord(b)
	*s = SpanRecord{Cause: f.cause(), Through: f.Uint(), Before: f.Totals()}
	s.At = s.Before.Add(f.Totals())
	if !s.At.Holds(s.Before) {
		f.Fail(errNumber)
	}
	return closeRecord(&f, "span")
}

// cause reads a Cause.
func (f *Fields) cause() Cause {
	c := Cause(f.Byte())
	if c >= Causes {
		f.Fail(ErrNewerRecord)
		return 0
	}
	return c
}
