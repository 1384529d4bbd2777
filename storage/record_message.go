package storage

import (
	"encoding/binary"
	"fmt"
)

// MessageRecord is a message of a topic. What is stored says where its payload lies, here or (later) elsewhere;
// readers never see which.
type MessageRecord struct {
	Time    int64  // of the entry that brought it, Unix milliseconds
	At      Totals // of the topic, up to and including it
	Payload []byte // a part of what was decoded
}

// Flags of a message's record. They stand where other records have their features: one that is not known means
// that the record can't be understood.
const (
	messageElsewhere = 1 << 0 // reserved: the payload lies in a log's entry, and here is where
	messageParts     = 1 << 1 // reserved: the payload lies in parts, and here is how many
	messageKnown     = 0
)

// Append appends the record.
func (m *MessageRecord) Append(b []byte) []byte {
	b = append(b, recordVersion, 0)
	b = binary.AppendUvarint(b, uint64(m.Time))
	b = AppendTotals(b, m.At)
	return append(b, m.Payload...)
}

// Decode reads the record; Payload is a part of b.
func (m *MessageRecord) Decode(b []byte) error {
	f := ReadFields(b)
	version, flags := f.Byte(), f.Byte()
	if f.err == nil && (version != recordVersion || flags&^messageKnown != 0) {
		f.Fail(fmt.Errorf("%w: version %d, flags %#x", ErrNewerRecord, version, flags))
	}
	m.Time = int64(f.Uint())
	m.At = f.Totals()
	m.Payload = f.Rest()
	if f.err == nil && (m.At.Messages == 0 || m.At.Bytes < MessageBytes(len(m.Payload))) {
		f.Fail(errNumber)
	}
	return closeRecord(&f, "message")
}
