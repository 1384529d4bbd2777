package amqp

import (
	"encoding/binary"
	"fmt"
)

// reader consumes encoded values from the front of a slice. Its error is sticky: after the first one every method returns zero
// values, so that decoders need not ask after each field.
type reader struct {
	b          []byte
	err        *DecodeError
	typ, field string // what is being decoded, for errors
	weightless int    // array elements without bytes, so far
	short      bool   // the error is that the input ended
}

// maxWeightless bounds the array elements that take no bytes (an array of null, true, uint0, ...), all arrays of an input together:
// ten bytes could otherwise claim four thousand million of them.
const maxWeightless = 1024

func (r *reader) fail(condition Symbol, reason string) {
	if r.err == nil {
		r.err = &DecodeError{Condition: condition, Type: r.typ, Field: r.field, Reason: reason}
	}
	r.b = nil
}

func (r *reader) truncated() {
	if r.err == nil {
		r.short = true
	}
	r.fail(ErrCondDecodeError, "truncated")
}

func (r *reader) tooDeep() {
	r.fail(ErrCondDecodeError, fmt.Sprintf("nested deeper than %d", MaxDepth))
}

// wrongType reports the value that begins here. A field of a wrong type is an invalid field; elsewhere it is a decode error.
func (r *reader) wrongType(want string) {
	if r.err != nil {
		return
	}
	if len(r.b) == 0 {
		r.truncated()
		return
	}
	condition := ErrCondDecodeError
	if r.field != "" {
		condition = ErrCondInvalidField
	}
	r.fail(condition, "expected "+want+", found "+typeName(r.b[0]))
}

func (r *reader) invalid(reason string) { r.fail(ErrCondInvalidField, reason) }

// adopt takes over the error and the counters of a reader for a part of this one's input.
func (r *reader) adopt(sub *reader) {
	r.weightless = sub.weightless
	if sub.err != nil && r.err == nil {
		r.err = sub.err
		r.b = nil
	}
}

// take cuts n bytes off.
func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.truncated()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// code returns the format code of the next value without consuming it; 0, which is also that of a described value, with an error.
func (r *reader) code() byte {
	if len(r.b) == 0 {
		if r.err == nil {
			r.truncated()
		}
		return 0
	}
	return r.b[0]
}

// fixed returns the data of a value of fixed width n, whose format code the caller has looked at.
func (r *reader) fixed(n int) []byte {
	if len(r.b) < 1+n {
		r.truncated()
		return nil
	}
	v := r.b[1 : 1+n]
	r.b = r.b[1+n:]
	return v
}

// variable returns the data of a value of variable width, whose format code the caller has looked at. width is that of its
// size, 1 or 4.
func (r *reader) variable(width int) []byte {
	r.b = r.b[1:]
	return r.sized(width)
}

// sized returns as many bytes as the size in front of them says.
func (r *reader) sized(width int) []byte {
	if len(r.b) < width {
		r.truncated()
		return nil
	}
	size := uint64(r.b[0])
	if width == 4 {
		size = uint64(binary.BigEndian.Uint32(r.b))
	}
	rest := r.b[width:]
	if size > uint64(len(rest)) {
		r.truncated()
		return nil
	}
	r.b = rest[size:]
	return rest[:size:size]
}

// compound returns the items (of an array: the constructor and the elements) and their count, which is only a claim, of a
// value whose format code is consumed.
func (r *reader) compound(width int) (items []byte, count uint32) {
	data := r.sized(width)
	if r.err != nil {
		return nil, 0
	}
	if len(data) < width {
		r.fail(ErrCondDecodeError, "size leaves no room for the count")
		return nil, 0
	}
	if width == 1 {
		return data[1:], uint32(data[0])
	}
	return data[4:], binary.BigEndian.Uint32(data)
}

// list returns the items of a list. Each takes at least one byte, so that a count above their bytes is a lie.
func (r *reader) list() (items []byte, count int) {
	var n uint32
	switch r.code() {
	case fcList0:
		r.b = r.b[1:]
		return nil, 0
	case fcList8:
		r.b = r.b[1:]
		items, n = r.compound(1)
	case fcList32:
		r.b = r.b[1:]
		items, n = r.compound(4)
	default:
		r.wrongType("list")
		return nil, 0
	}
	return r.checkItems(items, n)
}

func (r *reader) checkItems(items []byte, n uint32) ([]byte, int) {
	if uint64(n) > uint64(len(items)) {
		r.fail(ErrCondDecodeError, "more items claimed than there are bytes")
		return nil, 0
	}
	if n == 0 && len(items) > 0 {
		r.fail(ErrCondDecodeError, "bytes behind the last item")
		return nil, 0
	}
	return items, int(n)
}

// mapItems returns the keys and values of a map; count is twice the number of its entries.
func (r *reader) mapItems() (items []byte, count int) {
	var n uint32
	switch r.code() {
	case fcMap8:
		r.b = r.b[1:]
		items, n = r.compound(1)
	case fcMap32:
		r.b = r.b[1:]
		items, n = r.compound(4)
	default:
		r.wrongType("map")
		return nil, 0
	}
	items, count = r.checkItems(items, n)
	if count%2 != 0 {
		r.fail(ErrCondDecodeError, "map with an odd number of items")
		return nil, 0
	}
	return items, count
}

// descriptor consumes the beginning of a described value up to the format code of what it describes. A descriptor which is
// neither one of the specification's symbols nor a ulong gives codeUnknown.
func (r *reader) descriptor() uint64 {
	if b := r.b; len(b) >= 3 && b[0] == fcDescribed && b[1] == fcSmallUlong {
		r.b = b[3:]
		return uint64(b[2])
	}
	if r.code() != fcDescribed || r.err != nil {
		r.wrongType("a described type")
		return codeUnknown
	}
	r.b = r.b[1:]
	switch r.code() {
	case fcSmallUlong, fcUlong, fcUlong0:
		return r.ulong()
	case fcSymbol8, fcSymbol32:
		return codeOf(r.symbolBytes())
	}
	r.skip(1)
	return codeUnknown
}

// skip consumes one value. The contents of lists, maps and arrays are not looked at.
func (r *reader) skip(depth int) {
	for r.code() == fcDescribed && r.err == nil {
		if depth++; depth > MaxDepth {
			r.tooDeep()
			return
		}
		r.b = r.b[1:]
		r.skip(depth)
	}
	if r.err != nil {
		return
	}
	c := r.b[0]
	r.b = r.b[1:]
	switch f := formats[c]; {
	case f.name == "":
		r.unknownFormat(c)
	case c < 0xa0:
		r.take(f.width)
	case c < 0xc0:
		r.sized(f.width)
	default:
		r.compound(f.width)
	}
}

func (r *reader) unknownFormat(code byte) {
	r.fail(ErrCondDecodeError, fmt.Sprintf("unknown format code 0x%02x", code))
}

// raw consumes one value and returns it as it is encoded.
func (r *reader) raw() Raw {
	start := r.b
	r.skip(0)
	if r.err != nil {
		return nil
	}
	n := len(start) - len(r.b)
	return Raw(start[:n:n])
}
