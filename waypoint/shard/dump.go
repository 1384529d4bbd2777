package shard

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/posthouse/posthouse/storage"
)

// Dump writes the whole state as text, read from storage as it is now, in an order that depends on nothing but the state: two
// replicas at the same index are equal if and only if their dumps are. Payloads are shown as hashes.
func (m *Machine) Dump(w io.Writer) error { return dump(m.config.State, w) }

func dump(state *storage.State, w io.Writer) (err error) {
	s, err := state.Snapshot()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	out := bufio.NewWriter(w)
	for _, kind := range []storage.KeyKind{storage.KeyHeader, storage.KeyLane, storage.KeyRefusal, storage.KeyCursor, storage.KeyPlace,
		storage.KeyGap, storage.KeyRange, storage.KeyDeliveries, storage.KeyTopic, storage.KeyHole, storage.KeyMessage} {
		err := scan(s, kind, func(first, second uint64, value []byte) error {
			text, err := dumpRecord(kind, value)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(out, "%c %d %d %s\n", kind, first, second, text)
			return err
		})
		if err != nil {
			return err
		}
	}
	return out.Flush()
}

func dumpRecord(kind storage.KeyKind, value []byte) (string, error) {
	var record interface{ Decode([]byte) error }
	switch kind {
	case storage.KeyHeader:
		record = &storage.HeaderRecord{}
	case storage.KeyLane:
		record = &storage.LaneRecord{}
	case storage.KeyCursor:
		record = &storage.CursorRecord{}
	case storage.KeyPlace:
		record = &storage.PlaceRecord{}
	case storage.KeyGap:
		record = &storage.GapRecord{}
	case storage.KeyRange, storage.KeyHole:
		record = &storage.SpanRecord{}
	case storage.KeyTopic:
		record = &storage.TopicRecord{}
	case storage.KeyRefusal:
		var r Refusal
		err := r.DecodeRecord(value)
		return fmt.Sprintf("%+v", r), err
	case storage.KeyDeliveries:
		n, err := storage.DecodeDeliveries(value)
		return fmt.Sprint(n), err
	case storage.KeyMessage:
		var r storage.MessageRecord
		err := r.Decode(value)
		return fmt.Sprintf("time=%d at=%v %d bytes sha256=%x", r.Time, r.At, len(r.Payload), sha256.Sum256(r.Payload)), err
	}
	err := record.Decode(value)
	return fmt.Sprintf("%+v", record), err
}
