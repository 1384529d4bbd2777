package amqp

import (
	"encoding/hex"
	"time"
)

// Symbol is a value of a constrained domain: seven bit ASCII.
type Symbol string

// UUID is a universally unique id in network byte order.
type UUID [16]byte

// String gives the usual form with hyphens.
func (u UUID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], u[0:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:36], u[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// Char is one Unicode character.
type Char rune

// Decimal32, Decimal64 and Decimal128 are IEEE 754-2008 decimals in their wire form. They are carried, not computed with.
type (
	Decimal32  [4]byte
	Decimal64  [8]byte
	Decimal128 [16]byte
)

// Described is a value with a descriptor that says what it means: a uint64 or a Symbol (other descriptors are reserved, but carried).
// A descriptor of nil, which cannot come from a described value, stands for a value that is not described at all.
type Described struct {
	Descriptor any
	Value      any
}

// Is tells whether the descriptor is the given numeric code or the given symbol; either may be the zero value, which matches nothing.
func (d Described) Is(code uint64, name Symbol) bool {
	switch v := d.Descriptor.(type) {
	case uint64:
		return code != 0 && v == code
	case Symbol:
		return name != "" && v == name
	}
	return false
}

// Map is an AMQP map: ordered, with keys of any type.
type Map []MapEntry

// MapEntry is one pair of a Map.
type MapEntry struct {
	Key   any
	Value any
}

// Get finds the value of a key that is a string or a symbol, whichever of the two it is.
func (m Map) Get(key string) (any, bool) {
	for i := range m {
		switch k := m[i].Key.(type) {
		case string:
			if k == key {
				return m[i].Value, true
			}
		case Symbol:
			if string(k) == key {
				return m[i].Value, true
			}
		}
	}
	return nil, false
}

// Array is an AMQP array: all its items are of one type.
type Array struct {
	Items []any
	// Constructor is the element constructor of an array without items, as it came. An array with items derives it from them.
	Constructor []byte
}

// Optional is a field whose absence means something else than any of its values.
type Optional[T any] struct {
	Value T
	Set   bool
}

// Some is an Optional that is set.
func Some[T any](v T) Optional[T] { return Optional[T]{Value: v, Set: true} }

// Or is the value, or def if there is none.
func (o Optional[T]) Or(def T) T {
	if o.Set {
		return o.Value
	}
	return def
}

// Timestamp turns an AMQP timestamp (milliseconds since the Unix epoch) into a time.
func Timestamp(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
