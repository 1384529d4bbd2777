package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"
)

// record is what all records have in common.
type record interface {
	Append([]byte) []byte
	Decode([]byte) error
}

// refusalRecord makes a Refusal's record look like the others.
type refusalRecord struct{ Refusal }

func (r *refusalRecord) Append(b []byte) []byte { return r.AppendRecord(b) }
func (r *refusalRecord) Decode(b []byte) error  { return r.DecodeRecord(b) }

type deliveriesRecord struct{ Count uint32 }

func (r *deliveriesRecord) Append(b []byte) []byte { return AppendDeliveries(b, r.Count) }
func (r *deliveriesRecord) Decode(b []byte) (err error) {
	r.Count, err = DecodeDeliveries(b)
	return err
}

// records has at least one of each kind, empty and full.
func records() []record {
	t := func(m, b uint64) Totals { return Totals{Messages: m, Bytes: b} }
	limits := Limits{MaxMessages: 1, MaxBytes: math.MaxUint64, MaxAge: time.Hour, MaxDeliveries: math.MaxUint32,
		MaxInFlight: 7, AckTimeout: time.Nanosecond, ExpiresAfter: math.MaxInt64, Overflow: Suspend}
	place := PlaceRecord{FloorSeq: 9, Floor: t(3, 300), Mark: 1 << 40, Confirmed: t(2, 200)}
	place.GivenUp[CauseMessages] = t(1, 100)
	place.GivenUp[Causes-1] = t(math.MaxUint64, math.MaxUint64)
	piece := GapPiece{First: 1, Version: 2, Topic: 3, From: 4, Through: 5, After: 6, Messages: 7, Bytes: 8}
	piece.Causes[CauseAge] = 6
	piece.Causes[Causes-1] = 1
	return []record{
		&HeaderRecord{}, &HeaderRecord{LastSeq: math.MaxUint64, LastTopic: 2, LastLane: 3, Time: math.MaxInt64},
		&TopicRecord{}, &TopicRecord{Address: "a/b", TailSeq: 12, Tail: t(4, 400)},
		&MessageRecord{Time: 1, At: t(1, Overhead), Payload: []byte{}},
		&MessageRecord{Time: 1763900000000, At: t(5, 1000), Payload: []byte("payload")},
		&SpanRecord{}, &SpanRecord{Through: 9, Before: t(1, 100), At: t(5, 500), Cause: CauseRejected},
		&CursorRecord{}, &CursorRecord{Topic: 4, Owner: "me", Name: "mine", Limits: limits, StartSeq: 4, Start: t(1, 64),
			Gen: 5, Holders: []HolderRecord{{Router: "a", Boot: 1, Gen: 5}, {Router: "b", Boot: math.MaxUint64, Gen: 4}}},
		&PlaceRecord{}, &place,
		&GapRecord{}, &GapRecord{Pieces: []GapPiece{piece, {}, piece}},
		&LaneRecord{}, &LaneRecord{Router: "r", Boot: 1, Last: 2, Active: 3},
		&refusalRecord{}, &refusalRecord{Refusal{Condition: "amqp:resource-limit-exceeded", Subscription: "s",
			Reason: 1, Limit: 2, Used: 3, RetryAfterMS: 4}},
		&deliveriesRecord{}, &deliveriesRecord{Count: math.MaxUint32},
	}
}

func fresh(r record) record { return reflect.New(reflect.TypeOf(r).Elem()).Interface().(record) }

func TestRecordsComeBack(t *testing.T) {
	for _, r := range records() {
		b := r.Append([]byte("before"))[len("before"):]
		got := fresh(r)
		if err := got.Decode(b); err != nil {
			t.Errorf("%T: %v", r, err)
			continue
		}
		if again := got.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%T: encoded again\n%x, was\n%x", r, again, b)
		}
		if !reflect.DeepEqual(got, r) && !(bytes.Equal(b, fresh(r).Append(nil))) {
			t.Errorf("%T: got %+v, want %+v", r, got, r)
		}
	}
}

func TestRecordsOfNewerVersionsAreRefused(t *testing.T) {
	for _, r := range records() {
		for i, change := range []byte{recordVersion + 1, 0x40} {
			b := r.Append(nil)
			b[i] = change // the version, or the features
			if err := fresh(r).Decode(b); !errors.Is(err, ErrNewerRecord) {
				t.Errorf("%T with byte %d = %#x: error %v, want ErrNewerRecord", r, i, change, err)
			}
		}
	}
}

func TestRecordsCutShortAreCorrupt(t *testing.T) {
	for _, r := range records() {
		b := r.Append(nil)
		_, payload := r.(*MessageRecord) // whose end is not known
		for n := range b {
			err := fresh(r).Decode(b[:n:n])
			if err == nil && !payload {
				t.Errorf("%T: %d of %d bytes were taken", r, n, len(b))
			}
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%T: %d of %d bytes: error %v, want ErrCorrupt", r, n, len(b), err)
			}
		}
		if payload {
			continue
		}
		if err := fresh(r).Decode(append(b, 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%T with a byte too much: error %v, want ErrCorrupt", r, err)
		}
	}
}

// FuzzRecords looks for panics, for allocations by claimed lengths (the fuzzer's memory limit), and for bytes that are
// understood but come out as something else.
func FuzzRecords(f *testing.F) {
	kinds := []record{&HeaderRecord{}, &TopicRecord{}, &MessageRecord{}, &SpanRecord{}, &CursorRecord{}, &PlaceRecord{}, &GapRecord{},
		&LaneRecord{}, &refusalRecord{}, &deliveriesRecord{}}
	for _, r := range records() {
		kind := slices.IndexFunc(kinds, func(k record) bool { return reflect.TypeOf(k) == reflect.TypeOf(r) })
		f.Add(byte(kind), r.Append(nil))
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		r := fresh(kinds[int(kind)%len(kinds)])
		if r.Decode(b) != nil {
			return
		}
		again := fresh(r)
		if err := again.Decode(r.Append(nil)); err != nil {
			t.Fatalf("%+v can't be read again: %v", r, err)
		}
		if !bytes.Equal(again.Append(nil), r.Append(nil)) {
			t.Fatalf("%+v came back as %+v", r, again)
		}
	})
}

func TestKeysLieInTheOrderOfTheirNumbers(t *testing.T) {
	kinds := []KeyKind{KeyHeader, KeyTopic, KeyHole, KeyMessage, KeyCursor, KeyPlace, KeyGap, KeyRange, KeyDeliveries, KeyLane, KeyRefusal}
	values := []uint64{0, 1, 255, 256, math.MaxUint64 - 1, math.MaxUint64}
	for _, kind := range kinds {
		var keys [][]byte
		switch kind.numbers() {
		case 0:
			keys = append(keys, AppendKey(nil, kind))
		case 1:
			for _, a := range values {
				keys = append(keys, AppendKey(nil, kind, a))
			}
		case 2:
			for _, a := range values {
				for _, b := range values {
					keys = append(keys, AppendKey(nil, kind, a, b))
				}
			}
		}
		if !slices.IsSortedFunc(keys, bytes.Compare) {
			t.Errorf("keys of kind %c are not in order", kind)
		}
		for _, key := range keys {
			k, a, b, ok := ParseKey(key)
			var again []byte
			switch kind.numbers() {
			case 0:
				again = AppendKey(nil, k)
			case 1:
				again = AppendKey(nil, k, a)
			case 2:
				again = AppendKey(nil, k, a, b)
			}
			if !ok || !bytes.Equal(again, key) {
				t.Errorf("key %x parsed as %c %d %d %v", key, k, a, b, ok)
			}
			if after := AppendKeyAfter(nil, kind); bytes.Compare(key, after) >= 0 {
				t.Errorf("key %x is not before the end %x of its kind", key, after)
			}
		}
	}
}

func TestKeyAfterEndsItsNumbers(t *testing.T) {
	for _, a := range []uint64{0, 254, 255, 1 << 20, math.MaxUint64 - 1, math.MaxUint64} {
		after := AppendKeyAfter(nil, KeyMessage, a)
		if last := AppendKey(nil, KeyMessage, a, math.MaxUint64); bytes.Compare(last, after) >= 0 {
			t.Errorf("%x, the last of topic %d, is not before %x", last, a, after)
		}
		if a == math.MaxUint64 {
			continue
		}
		if next := AppendKey(nil, KeyMessage, a+1, 0); bytes.Compare(next, after) < 0 {
			t.Errorf("%x, the first of topic %d, is before %x, the end of topic %d", next, a+1, after, a)
		}
	}
}

func TestParseKeyRefusesWhatIsNoKey(t *testing.T) {
	for _, key := range []string{"", "z", "h1", "t", "t1234567", "m12345678", "m1234567812345678x"} {
		if kind, _, _, ok := ParseKey([]byte(key)); ok {
			t.Errorf("%q was parsed as a key of kind %c", key, kind)
		}
	}
}

// The bytes of records() as version 1 writes them: a change here needs a version or a feature, and a way to read these.
func TestRecordsAreWrittenAsBefore(t *testing.T) {
	for i, want := range []string{
		"010000000000", // *storage.HeaderRecord
		"0100ffffffffffffffffff010203ffffffffffffffff7f", // *storage.HeaderRecord
		"010000000000",                         // *storage.TopicRecord
		"010003612f620c049003",                 // *storage.TopicRecord
		"0100010140",                           // *storage.MessageRecord
		"0100808e8885ab3305e8077061796c6f6164", // *storage.MessageRecord
		"0100000000000000",                     // *storage.SpanRecord
		"010005090164049003",                   // *storage.SpanRecord
		"010000000000000000000000000000000000", // *storage.CursorRecord
		"010004026d65046d696e6501ffffffffffffffffff0180c0e285e368ffffffff0f0701ffffffffffffffff7f030401400502016101050162ffffffffffffffffff0104", // *storage.CursorRecord
		"010000000000000000", // *storage.PlaceRecord
		"01000903ac0280808080802002c801020101640cffffffffffffffffff01ffffffffffffffffff01", // *storage.PlaceRecord
		"010000", // *storage.GapRecord
		"01000301020304050607080203060c0100000000000000000001020304050607080203060c01", // *storage.GapRecord
		"010000000000",     // *storage.LaneRecord
		"01000172010203",   // *storage.LaneRecord
		"0100000000000000", // *storage.refusalRecord
		"01001c616d71703a7265736f757263652d6c696d69742d6578636565646564017301020304", // *storage.refusalRecord
		"010000",         // *storage.deliveriesRecord
		"0100ffffffff0f", // *storage.deliveriesRecord
	} {
		if got := fmt.Sprintf("%x", records()[i].Append(nil)); got != want {
			t.Errorf("%T is written as\n%s, was\n%s", records()[i], got, want)
		}
	}
}
