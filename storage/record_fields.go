package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrNewerRecord says that a record was written by a newer version, in a way that is not understood here.
var ErrNewerRecord = errors.New("record is of a newer version")

// Fields reads the fields of a record one after the other. The first error sticks: what is read after it is
// zero. It never allocates by a length that the bytes claim.
type Fields struct {
	rest []byte
	err  error
}

var (
	errShort    = errors.New("it ends too early")
	errTrailing = errors.New("bytes are left over")
	errNumber   = errors.New("a number is out of range")
)

// ReadFields begins reading b.
func ReadFields(b []byte) Fields { return Fields{rest: b} }

// Fail sets the error, unless there is one.
func (f *Fields) Fail(err error) {
	if f.err == nil {
		f.err = err
	}
	f.rest = nil
}

// Err is the first error.
func (f *Fields) Err() error { return f.err }

// Len is how many bytes are left.
func (f *Fields) Len() int { return len(f.rest) }

// Done is the first error; bytes that are left over are one.
func (f *Fields) Done() error {
	if f.err == nil && len(f.rest) != 0 {
		f.err = errTrailing
	}
	return f.err
}

// Byte reads one byte.
func (f *Fields) Byte() byte {
	if len(f.rest) == 0 {
		f.Fail(errShort)
		return 0
	}
	c := f.rest[0]
	f.rest = f.rest[1:]
	return c
}

// Uint reads a varint.
func (f *Fields) Uint() uint64 {
	v, n := binary.Uvarint(f.rest)
	if n <= 0 {
		f.Fail(errShort)
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

// Int reads a signed (zigzag) varint.
func (f *Fields) Int() int64 {
	v, n := binary.Varint(f.rest)
	if n <= 0 {
		f.Fail(errShort)
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

// Uint32 reads a varint of at most 32 bits.
func (f *Fields) Uint32() uint32 {
	v := f.Uint()
	if v > 1<<32-1 {
		f.Fail(errNumber)
		return 0
	}
	return uint32(v)
}

// Count reads the number of items that follow, each of which takes at least size bytes: a number that the bytes
// that are left can't hold is an error.
func (f *Fields) Count(size int) int {
	v := f.Uint()
	if v > uint64(len(f.rest)/size) {
		f.Fail(errShort)
		return 0
	}
	return int(v)
}

// Bytes reads a length and as many bytes, which are a part of what is being read.
func (f *Fields) Bytes() []byte {
	n := f.Count(1)
	b := f.rest[:n:n]
	f.rest = f.rest[n:]
	return b
}

// Rest reads all that is left.
func (f *Fields) Rest() []byte {
	b := f.rest
	f.rest = nil
	return b
}

// Text reads a string.
func (f *Fields) Text() string { return string(f.Bytes()) }

// Totals reads Totals.
func (f *Fields) Totals() Totals { return Totals{Messages: f.Uint(), Bytes: f.Uint()} }

// AppendText appends what Text and Bytes read.
func AppendText[T string | []byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// AppendTotals appends what Totals reads.
func AppendTotals(b []byte, t Totals) []byte {
	b = binary.AppendUvarint(b, t.Messages)
	return binary.AppendUvarint(b, t.Bytes)
}

// A record begins with its version and a set of features. A new field comes with a feature's bit, which is
// written only once every replica knows it; a bit that is not known means that the record can't be understood,
// so neither fields nor meaning get lost by an older program. There are no features yet.
const recordVersion = 1

func appendRecord(b []byte) []byte { return append(b, recordVersion, 0) }

// openRecord reads version and features.
func openRecord(b []byte) Fields {
	f := ReadFields(b)
	if v := f.Byte(); f.err == nil && v != recordVersion {
		f.Fail(fmt.Errorf("%w: version %d, known is %d", ErrNewerRecord, v, recordVersion))
	}
	if features := f.Uint(); features != 0 {
		f.Fail(fmt.Errorf("%w: features %#x", ErrNewerRecord, features))
	}
	return f
}

// closeRecord ends reading the record that is called what.
func closeRecord(f *Fields, what string) error { return recordError(what, f.Done()) }

func recordError(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNewerRecord):
		return fmt.Errorf("%s record: %w", what, err)
	default:
		return fmt.Errorf("%s record: %w: %w", what, ErrCorrupt, err)
	}
}
