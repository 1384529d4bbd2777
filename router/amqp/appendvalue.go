package amqp

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// AppendValue appends a value of one of the Go types that the package comment lists. It panics for any other type and for an
// Array whose items are not of one type: CheckValue tells beforehand.
func AppendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return AppendNull(b)
	case bool:
		return AppendBool(b, v)
	case uint8:
		return AppendUbyte(b, v)
	case uint16:
		return AppendUshort(b, v)
	case uint32:
		return AppendUint(b, v)
	case uint64:
		return AppendUlong(b, v)
	case int8:
		return append(b, fcByte, byte(v))
	case int16:
		return append(b, fcShort, byte(v>>8), byte(v))
	case int32:
		return AppendInt(b, v)
	case int64:
		return AppendLong(b, v)
	case int:
		return AppendLong(b, int64(v))
	case time.Time:
		return AppendTimestamp(b, v.UnixMilli())
	case []byte:
		return AppendBinary(b, v)
	case string:
		return AppendString(b, v)
	case Symbol:
		return AppendSymbol(b, v)
	case Described:
		if v.Descriptor == nil {
			return AppendValue(b, v.Value)
		}
		return AppendValue(AppendValue(append(b, fcDescribed), v.Descriptor), v.Value)
	case []any:
		b, at := beginCompound(b, fcList8)
		for _, x := range v {
			b = AppendValue(b, x)
		}
		return endCompound(b, at, len(v), fcList32)
	case Map:
		b, at := beginCompound(b, fcMap8)
		for i := range v {
			b = AppendValue(AppendValue(b, v[i].Key), v[i].Value)
		}
		return endCompound(b, at, 2*len(v), fcMap32)
	case map[Symbol]any:
		return appendSymbolMap(b, v)
	case map[string]any:
		b, at := beginCompound(b, fcMap8)
		for _, k := range slices.Sorted(maps.Keys(v)) {
			b = AppendValue(AppendString(b, k), v[k])
		}
		return endCompound(b, at, 2*len(v), fcMap32)
	case Array:
		return appendArray(b, v)
	case []Symbol:
		return appendSymbols(b, v)
	case []string:
		return appendArray(b, arrayOf(v, fcString8))
	}
	// What is left is of fixed width and has one encoding.
	code := constructorOf(v)
	return appendData(append(b, code), code, v)
}

// appendSymbolMap writes the keys in order of their text, so that the same map always gives the same bytes.
func appendSymbolMap(b []byte, m map[Symbol]any) []byte {
	b, at := beginCompound(b, fcMap8)
	for _, k := range slices.Sorted(maps.Keys(m)) {
		b = AppendValue(AppendSymbol(b, k), m[k])
	}
	return endCompound(b, at, 2*len(m), fcMap32)
}

// appendSymbols writes an array even for one symbol: not all peers take the bare symbol that 1.3 allows.
func appendSymbols(b []byte, v []Symbol) []byte {
	b, at := beginCompound(b, fcArray8)
	code := byte(fcSymbol8)
	for _, s := range v {
		if len(s) > math.MaxUint8 {
			code = fcSymbol32
		}
	}
	b = append(b, code)
	for _, s := range v {
		s = cleanSymbol(s)
		b = append(appendWidth(b, code, len(s)), s...)
	}
	return endCompound(b, at, len(v), fcArray32)
}

func arrayOf[T any](v []T, empty byte) Array {
	a := Array{Items: make([]any, len(v)), Constructor: []byte{empty}}
	for i := range v {
		a.Items[i] = v[i]
	}
	return a
}

// beginCompound reserves the short header of a list, map or array; endCompound fills it in, or makes room for the long one.
// at is where the items begin.
func beginCompound(b []byte, code8 byte) (_ []byte, at int) {
	b = append(b, code8, 0, 0)
	return b, len(b)
}

func endCompound(b []byte, at, count int, code32 byte) []byte {
	size := len(b) - at
	if size+1 <= math.MaxUint8 && count <= math.MaxUint8 {
		if count == 0 && code32 == fcList32 {
			b[at-3] = fcList0
			return b[:at-2]
		}
		b[at-2] = byte(size + 1)
		b[at-1] = byte(count)
		return b
	}
	const more = 6 // the long header takes 9 bytes, the short one 3
	b = append(b, make([]byte, more)...)
	copy(b[at+more:], b[at:at+size])
	b[at-3] = code32
	binary.BigEndian.PutUint32(b[at-2:], uint32(size+4))
	binary.BigEndian.PutUint32(b[at+2:], uint32(count))
	return b
}

func unencodable(v any) string { return fmt.Sprintf("amqp: no AMQP type for %T", v) }
