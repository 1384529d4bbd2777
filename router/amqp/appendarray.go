package amqp

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"
)

// appendArray writes the one constructor that all items share, and their data behind it.
func appendArray(b []byte, a Array) []byte {
	b, at := beginCompound(b, fcArray8)
	if len(a.Items) == 0 {
		if len(a.Constructor) == 0 {
			return endCompound(append(b, fcNull), at, 0, fcArray32)
		}
		return endCompound(append(b, a.Constructor...), at, 0, fcArray32)
	}
	var items []any
	b, items = appendDescriptors(b, a.Items)
	code := constructorOf(items[0])
	for _, v := range items {
		code = commonCode(code, v)
	}
	b = append(b, code)
	for _, v := range items {
		b = appendData(b, code, v)
	}
	return endCompound(b, at, len(items), fcArray32)
}

// appendDescriptors writes the descriptors that the items have in common, and returns what they describe.
func appendDescriptors(b []byte, items []any) ([]byte, []any) {
	for {
		first, ok := items[0].(Described)
		if !ok || first.Descriptor == nil {
			return b, items
		}
		descriptor := AppendValue(nil, first.Descriptor)
		inner := make([]any, len(items))
		for i, v := range items {
			d, ok := v.(Described)
			if !ok || d.Descriptor == nil || !bytes.Equal(AppendValue(nil, d.Descriptor), descriptor) {
				panic("amqp: array of values with different descriptors")
			}
			inner[i] = d.Value
		}
		b = append(append(b, fcDescribed), descriptor...)
		items = inner
	}
}

// constructorOf is the shortest format code that fits a value as an array element, without regard to its neighbours.
func constructorOf(v any) byte {
	switch v := v.(type) {
	case nil:
		return fcNull
	case bool:
		return fcBool
	case uint8:
		return fcUbyte
	case uint16:
		return fcUshort
	case uint32:
		return pick(v <= math.MaxUint8, fcSmallUint, fcUint)
	case uint64:
		return pick(v <= math.MaxUint8, fcSmallUlong, fcUlong)
	case int8:
		return fcByte
	case int16:
		return fcShort
	case int32:
		return pick(v == int32(int8(v)), fcSmallInt, fcInt)
	case int64:
		return pick(v == int64(int8(v)), fcSmallLong, fcLong)
	case int:
		return constructorOf(int64(v))
	case float32:
		return fcFloat
	case float64:
		return fcDouble
	case Decimal32:
		return fcDecimal32
	case Decimal64:
		return fcDecimal64
	case Decimal128:
		return fcDecimal128
	case Char:
		return fcChar
	case time.Time:
		return fcTimestamp
	case UUID:
		return fcUUID
	case []byte:
		return pick(len(v) <= math.MaxUint8, fcBinary8, fcBinary32)
	case string:
		return pick(len(cleanString(v)) <= math.MaxUint8, fcString8, fcString32)
	case Symbol:
		return pick(len(v) <= math.MaxUint8, fcSymbol8, fcSymbol32)
	case []any:
		return fcList32
	case Map, map[Symbol]any, map[string]any:
		return fcMap32
	case Array, []Symbol, []string:
		return fcArray32
	case Described:
		if v.Descriptor == nil {
			return constructorOf(v.Value)
		}
	}
	panic(unencodable(v))
}

func pick(short bool, a, b byte) byte {
	if short {
		return a
	}
	return b
}

// commonCode is the format code for an array that has needed code so far and holds v too.
func commonCode(code byte, v any) byte {
	c := constructorOf(v)
	if formats[c].name != formats[code].name {
		panic("amqp: array of " + formats[code].name + " and " + formats[c].name)
	}
	if formats[c].width > formats[code].width {
		return c
	}
	return code
}

// appendData appends the data of a value whose constructor, of the given format code, is written already.
func appendData(b []byte, code byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return b
	case bool:
		if v {
			return append(b, 1)
		}
		return append(b, 0)
	case uint8:
		return append(b, v)
	case uint16:
		return binary.BigEndian.AppendUint16(b, v)
	case uint32:
		return appendInteger(b, code, uint64(v))
	case uint64:
		return appendInteger(b, code, v)
	case int8:
		return append(b, byte(v))
	case int16:
		return binary.BigEndian.AppendUint16(b, uint16(v))
	case int32:
		return appendInteger(b, code, uint64(v))
	case int64:
		return appendInteger(b, code, uint64(v))
	case int:
		return appendInteger(b, code, uint64(v))
	case float32:
		return binary.BigEndian.AppendUint32(b, math.Float32bits(v))
	case float64:
		return binary.BigEndian.AppendUint64(b, math.Float64bits(v))
	case Decimal32:
		return append(b, v[:]...)
	case Decimal64:
		return append(b, v[:]...)
	case Decimal128:
		return append(b, v[:]...)
	case Char:
		return binary.BigEndian.AppendUint32(b, uint32(v))
	case time.Time:
		return binary.BigEndian.AppendUint64(b, uint64(v.UnixMilli()))
	case UUID:
		return append(b, v[:]...)
	case []byte:
		return append(appendWidth(b, code, len(v)), v...)
	case string:
		v = cleanString(v)
		return append(appendWidth(b, code, len(v)), v...)
	case Symbol:
		v = cleanSymbol(v)
		return append(appendWidth(b, code, len(v)), v...)
	case Described:
		if v.Descriptor == nil {
			return appendData(b, code, v.Value)
		}
	}
	return appendCompoundData(b, v)
}

// appendInteger appends the low bytes of v that an integer of the given format code takes.
func appendInteger(b []byte, code byte, v uint64) []byte {
	switch formats[code].width {
	case 1:
		return append(b, byte(v))
	case 4:
		return binary.BigEndian.AppendUint32(b, uint32(v))
	}
	return binary.BigEndian.AppendUint64(b, v)
}

// appendCompoundData appends the data of a list, map or array in its long form.
func appendCompoundData(b []byte, v any) []byte {
	value := AppendValue(nil, v)
	switch code := value[0]; {
	case code == fcList0:
		return append(b, 0, 0, 0, 4, 0, 0, 0, 0)
	case formats[code].width == 1:
		b = binary.BigEndian.AppendUint32(b, uint32(value[1])+3) // the count takes 4 bytes instead of 1
		b = binary.BigEndian.AppendUint32(b, uint32(value[2]))
		return append(b, value[3:]...)
	}
	return append(b, value[1:]...)
}

// appendWidth appends the size of an element of variable width.
func appendWidth(b []byte, code byte, n int) []byte {
	if formats[code].width == 1 {
		return append(b, byte(n))
	}
	return binary.BigEndian.AppendUint32(b, uint32(n))
}
