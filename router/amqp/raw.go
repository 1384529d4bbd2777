package amqp

import (
	"encoding/binary"
	"math"
)

// Raw is one encoded value, a slice of a payload: looked at without decoding the rest. A Raw of nil is a value that is not there;
// it reads like null.
type Raw []byte

// IsNull tells whether there is no value or it is null.
func (r Raw) IsNull() bool { return len(r) == 0 || r[0] == fcNull }

// Value decodes the value; nil if there is none. The result refers to nothing.
func (r Raw) Value() (any, error) {
	if len(r) == 0 {
		return nil, nil
	}
	v, _, err := DecodeValue(r)
	return v, err
}

// Text is the contents of a string or a symbol, a slice of the payload.
func (r Raw) Text() (b []byte, ok bool) {
	d := reader{b: r}
	switch d.code() {
	case fcString8, fcString32:
		b = d.text()
	case fcSymbol8, fcSymbol32:
		b = d.symbolBytes()
	default:
		return nil, false
	}
	return b, d.err == nil
}

// Binary is the contents of a binary, a slice of the payload.
func (r Raw) Binary() (b []byte, ok bool) {
	d := reader{b: r}
	switch d.code() {
	case fcBinary8, fcBinary32:
		b = d.binary()
		return b, d.err == nil
	}
	return nil, false
}

// Bool is the value of a boolean.
func (r Raw) Bool() (v, ok bool) {
	d := reader{b: r}
	switch d.code() {
	case fcTrue, fcFalse, fcBool:
		v = d.bool()
		return v, d.err == nil
	}
	return false, false
}

// Uint64 is the value of any unsigned or non-negative signed integer.
func (r Raw) Uint64() (v uint64, ok bool) {
	d := reader{b: r}
	switch d.code() {
	case fcUlong0, fcSmallUlong, fcUlong:
		v = d.ulong()
		return v, d.err == nil
	}
	signed, ok := r.Int64()
	return uint64(signed), ok && signed >= 0
}

// Int64 is the value of any integer that fits.
func (r Raw) Int64() (v int64, ok bool) {
	d := reader{b: r}
	switch d.code() {
	case fcUbyte:
		v = int64(d.ubyte())
	case fcUshort:
		v = int64(d.ushort())
	case fcUint0, fcSmallUint, fcUint:
		v = int64(d.uint())
	case fcUlong0, fcSmallUlong, fcUlong:
		u := d.ulong()
		return int64(u), d.err == nil && u <= math.MaxInt64
	case fcByte, fcShort, fcSmallInt, fcInt, fcSmallLong, fcLong:
		v = d.signed()
	default:
		return 0, false
	}
	return v, d.err == nil
}

// signed reads a signed integer of any width.
func (r *reader) signed() int64 {
	d := r.fixed(formats[r.b[0]].width)
	switch len(d) {
	case 1:
		return int64(int8(d[0]))
	case 2:
		return int64(int16(binary.BigEndian.Uint16(d)))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(d)))
	case 8:
		return int64(binary.BigEndian.Uint64(d))
	}
	return 0
}

// Timestamp is the value of a timestamp: milliseconds since the Unix epoch.
func (r Raw) Timestamp() (ms int64, ok bool) {
	d := reader{b: r}
	if d.code() != fcTimestamp {
		return 0, false
	}
	ms = d.timestamp()
	return ms, d.err == nil
}
