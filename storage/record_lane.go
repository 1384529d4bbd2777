package storage

import "encoding/binary"

// LaneRecord is a router's lane into a shard.
type LaneRecord struct {
	Router string
	Boot   uint64
	Last   uint64 // its last number that is in
	Active int64  // when something of it last came in, Unix milliseconds
}

// Append appends the record.
func (l *LaneRecord) Append(b []byte) []byte {
	b = appendRecord(b)
	b = AppendText(b, l.Router)
	b = binary.AppendUvarint(b, l.Boot)
	b = binary.AppendUvarint(b, l.Last)
	return binary.AppendUvarint(b, uint64(l.Active))
}

// Decode reads the record.
func (l *LaneRecord) Decode(b []byte) error {
	f := openRecord(b)
	*l = LaneRecord{Router: f.Text(), Boot: f.Uint(), Last: f.Uint(), Active: int64(f.Uint())}
	return closeRecord(&f, "lane")
}

// AppendRecord appends the record of a refused number.
func (r *Refusal) AppendRecord(b []byte) []byte { return AppendRefusal(appendRecord(b), r) }

// DecodeRecord reads it.
func (r *Refusal) DecodeRecord(b []byte) error {
	f := openRecord(b)
	*r = f.Refusal()
	return closeRecord(&f, "refusal")
}

// AppendRefusal appends what Fields.Refusal reads.
func AppendRefusal(b []byte, r *Refusal) []byte {
	b = AppendText(b, r.Condition)
	b = AppendText(b, r.Subscription)
	b = append(b, byte(r.Reason))
	b = binary.AppendUvarint(b, r.Limit)
	b = binary.AppendUvarint(b, r.Used)
	return binary.AppendUvarint(b, uint64(r.RetryAfterMS))
}

// Refusal reads a Refusal.
func (f *Fields) Refusal() Refusal {
	return Refusal{Condition: f.Text(), Subscription: f.Text(), Reason: Reason(f.Byte()), Limit: f.Uint(), Used: f.Uint(),
		RetryAfterMS: f.Uint32()}
}
