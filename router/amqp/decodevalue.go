package amqp

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
)

// DecodeValue decodes the first value in b and returns what follows it. Nothing in v refers to b.
func DecodeValue(b []byte) (v any, rest []byte, err error) {
	r := reader{b: b}
	v = r.value(0)
	if r.err != nil {
		return nil, nil, r.err
	}
	return v, r.b, nil
}

// value decodes one value; depth is how many values it is inside of.
func (r *reader) value(depth int) any {
	if depth > MaxDepth {
		r.tooDeep()
		return nil
	}
	code := r.code()
	if r.err != nil {
		return nil
	}
	if code == fcDescribed {
		r.b = r.b[1:]
		d := r.descriptorValue(depth + 1)
		v := r.value(depth + 1)
		return Described{Descriptor: d, Value: v}
	}
	r.b = r.b[1:]
	return r.data(code, depth)
}

// descriptorValue decodes a descriptor. All but ulongs and symbols are reserved (1.1.3); null cannot say anything, and we use
// nil for what is not described.
func (r *reader) descriptorValue(depth int) any {
	d := r.value(depth)
	if d == nil {
		r.fail(ErrCondDecodeError, "descriptor is null")
	}
	return d
}

// data decodes a value whose format code is consumed.
func (r *reader) data(code byte, depth int) any {
	f := formats[code]
	if f.name == "" {
		r.unknownFormat(code)
		return nil
	}
	switch {
	case code < 0xa0:
		if d := r.take(f.width); r.err == nil {
			return r.fixedValue(code, d)
		}
	case code < 0xc0:
		if d := r.sized(f.width); r.err == nil {
			return r.variableValue(code, d)
		}
	default:
		if items, n := r.compound(f.width); r.err == nil {
			return r.compoundValue(code, items, n, depth)
		}
	}
	return nil
}

func (r *reader) fixedValue(code byte, d []byte) any {
	switch code {
	case fcNull:
		return nil
	case fcTrue:
		return true
	case fcFalse:
		return false
	case fcBool:
		return r.boolData(d)
	case fcUbyte:
		return d[0]
	case fcUshort:
		return binary.BigEndian.Uint16(d)
	case fcUint0:
		return uint32(0)
	case fcSmallUint:
		return uint32(d[0])
	case fcUint:
		return binary.BigEndian.Uint32(d)
	case fcUlong0:
		return uint64(0)
	case fcSmallUlong:
		return uint64(d[0])
	case fcUlong:
		return binary.BigEndian.Uint64(d)
	case fcByte:
		return int8(d[0])
	case fcShort:
		return int16(binary.BigEndian.Uint16(d))
	case fcSmallInt:
		return int32(int8(d[0]))
	case fcInt:
		return int32(binary.BigEndian.Uint32(d))
	case fcSmallLong:
		return int64(int8(d[0]))
	case fcLong:
		return int64(binary.BigEndian.Uint64(d))
	case fcFloat:
		return math.Float32frombits(binary.BigEndian.Uint32(d))
	case fcDouble:
		return math.Float64frombits(binary.BigEndian.Uint64(d))
	case fcDecimal32:
		return Decimal32(d)
	case fcDecimal64:
		return Decimal64(d)
	case fcDecimal128:
		return Decimal128(d)
	case fcChar:
		return Char(binary.BigEndian.Uint32(d))
	case fcTimestamp:
		return Timestamp(int64(binary.BigEndian.Uint64(d)))
	case fcUUID:
		return UUID(d)
	}
	return []any{} // fcList0
}

func (r *reader) variableValue(code byte, d []byte) any {
	switch code {
	case fcBinary8, fcBinary32:
		return append([]byte{}, d...)
	case fcString8, fcString32:
		return string(r.checkText(d))
	}
	return Symbol(r.checkSymbol(d))
}

func (r *reader) compoundValue(code byte, items []byte, n uint32, depth int) any {
	sub := reader{b: items, typ: r.typ, field: r.field, weightless: r.weightless}
	var v any
	switch code {
	case fcList8, fcList32:
		v = sub.listValue(n, depth)
	case fcMap8, fcMap32:
		v = sub.mapValue(n, depth)
	default:
		v = sub.arrayValue(n, depth)
	}
	if sub.err == nil && len(sub.b) > 0 {
		sub.fail(ErrCondDecodeError, "bytes behind the last item")
	}
	r.adopt(&sub)
	return v
}

// room is how many items to make room for at first. Even a count that could be true is a claim: lists that nest, each
// claiming all bytes that are left, would multiply it.
func room(count int) int { return min(count, 32) }

func (r *reader) listValue(n uint32, depth int) []any {
	_, count := r.checkItems(r.b, n)
	items := make([]any, 0, room(count))
	for range count {
		items = append(items, r.value(depth+1))
		if r.err != nil {
			return nil
		}
	}
	return items
}

func (r *reader) mapValue(n uint32, depth int) Map {
	_, count := r.checkItems(r.b, n)
	if count%2 != 0 {
		r.fail(ErrCondDecodeError, "map with an odd number of items")
	}
	m := make(Map, 0, room(count/2))
	for range count / 2 {
		k := r.value(depth + 1)
		v := r.value(depth + 1)
		if r.err != nil {
			return nil
		}
		m = append(m, MapEntry{Key: k, Value: v})
	}
	if r.err == nil && m.hasTwice() {
		r.fail(ErrCondDecodeError, "map with a key twice")
	}
	return m
}

// hasTwice tells whether two keys are the same (1.2.26). Equal values may be encoded differently, so keys are compared in the
// one encoding that we choose; above a few entries through a hash, since a peer sends as many as it likes.
func (m Map) hasTwice() bool {
	if len(m) < 2 {
		return false
	}
	seen := make(map[string]struct{}, len(m))
	var buf []byte
	for i := range m {
		buf = AppendValue(buf[:0], m[i].Key)
		if _, ok := seen[string(buf)]; ok {
			return true
		}
		seen[string(buf)] = struct{}{}
	}
	return false
}

func (r *reader) arrayValue(n uint32, depth int) Array {
	if n == 0 && len(r.b) == 0 {
		return Array{} // without a constructor, which 1.2 demands and nobody needs
	}
	whole := r.b
	var descriptors []any
	for r.code() == fcDescribed && r.err == nil {
		if depth++; depth >= MaxDepth {
			r.tooDeep()
			return Array{}
		}
		r.b = r.b[1:]
		descriptors = append(descriptors, r.descriptorValue(depth+1))
	}
	code := r.code()
	if r.err != nil {
		return Array{}
	}
	r.b = r.b[1:]
	if !r.checkElements(code, n) {
		return Array{}
	}
	if n == 0 {
		return Array{Constructor: bytes.Clone(whole[:len(whole)-len(r.b)])}
	}
	return Array{Items: r.elements(code, int(n), descriptors, depth+1)}
}

// checkElements says whether n elements of a format code can lie in the rest of the array.
func (r *reader) checkElements(code byte, n uint32) bool {
	f := formats[code]
	if f.name == "" {
		r.unknownFormat(code)
		return false
	}
	if f.width > 0 {
		// Sizes of variable width and compound elements count too: width is the least that an element takes.
		if uint64(n)*uint64(f.width) > uint64(len(r.b)) {
			r.fail(ErrCondDecodeError, "more items claimed than there are bytes")
			return false
		}
		return true
	}
	if uint64(n) > uint64(maxWeightless-r.weightless) {
		r.fail(ErrCondDecodeError, "too many array elements without bytes")
		return false
	}
	r.weightless += int(n)
	return true
}

func (r *reader) elements(code byte, n int, descriptors []any, depth int) []any {
	if depth > MaxDepth {
		r.tooDeep()
		return nil
	}
	items := make([]any, 0, room(n))
	for range n {
		v := r.data(code, depth)
		if r.err != nil {
			return nil
		}
		for _, d := range slices.Backward(descriptors) {
			v = Described{Descriptor: d, Value: v}
		}
		items = append(items, v)
	}
	return items
}
