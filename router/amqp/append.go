package amqp

import (
	"encoding/binary"
	"math"
	"strings"
	"unicode/utf8"
)

// AppendNull appends null.
func AppendNull(b []byte) []byte { return append(b, fcNull) }

// AppendBool appends a boolean.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, fcTrue)
	}
	return append(b, fcFalse)
}

// AppendUbyte appends a ubyte.
func AppendUbyte(b []byte, v uint8) []byte { return append(b, fcUbyte, v) }

// AppendUshort appends a ushort.
func AppendUshort(b []byte, v uint16) []byte { return append(b, fcUshort, byte(v>>8), byte(v)) }

// AppendUint appends a uint in its shortest form.
func AppendUint(b []byte, v uint32) []byte {
	switch {
	case v == 0:
		return append(b, fcUint0)
	case v <= math.MaxUint8:
		return append(b, fcSmallUint, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(b, fcUint), v)
}

// AppendUlong appends a ulong in its shortest form.
func AppendUlong(b []byte, v uint64) []byte {
	switch {
	case v == 0:
		return append(b, fcUlong0)
	case v <= math.MaxUint8:
		return append(b, fcSmallUlong, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(b, fcUlong), v)
}

// AppendInt appends an int in its shortest form.
func AppendInt(b []byte, v int32) []byte {
	if v >= math.MinInt8 && v <= math.MaxInt8 {
		return append(b, fcSmallInt, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(b, fcInt), uint32(v))
}

// AppendLong appends a long in its shortest form.
func AppendLong(b []byte, v int64) []byte {
	if v >= math.MinInt8 && v <= math.MaxInt8 {
		return append(b, fcSmallLong, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(b, fcLong), uint64(v))
}

// AppendTimestamp appends a timestamp: milliseconds since the Unix epoch.
func AppendTimestamp(b []byte, ms int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, fcTimestamp), uint64(ms))
}

// AppendUUID appends a uuid.
func AppendUUID(b []byte, v UUID) []byte { return append(append(b, fcUUID), v[:]...) }

// AppendBinary appends a binary; nil is an empty one.
func AppendBinary(b []byte, v []byte) []byte {
	return append(appendSize(b, fcBinary8, fcBinary32, len(v)), v...)
}

// AppendString appends a string; what is not UTF-8 in it becomes U+FFFD.
func AppendString(b []byte, v string) []byte {
	v = cleanString(v)
	return append(appendSize(b, fcString8, fcString32, len(v)), v...)
}

// AppendSymbol appends a symbol; what is not ASCII in it becomes a question mark.
func AppendSymbol(b []byte, v Symbol) []byte {
	v = cleanSymbol(v)
	return append(appendSize(b, fcSymbol8, fcSymbol32, len(v)), v...)
}

func appendSize(b []byte, code8, code32 byte, n int) []byte {
	if n <= math.MaxUint8 {
		return append(b, code8, byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, code32), uint32(n))
}

// cleanString and cleanSymbol keep what we say readable for a strict peer even where it quotes another peer's bytes (error descriptions).

func cleanString(v string) string {
	if utf8.ValidString(v) {
		return v
	}
	return strings.ToValidUTF8(v, string(utf8.RuneError))
}

func cleanSymbol(v Symbol) Symbol {
	for i := range len(v) {
		if v[i] >= utf8.RuneSelf {
			return Symbol(strings.Map(func(r rune) rune {
				if r >= utf8.RuneSelf {
					return '?'
				}
				return r
			}, string(v)))
		}
	}
	return v
}
