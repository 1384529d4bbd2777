package storage

import "encoding/binary"

// The keys of a shard's state: a kind, then numbers of eight bytes each, most significant first, so that keys of
// a kind lie in the order of their numbers. The group's prefix is not theirs.
//
//	h                    header            counters of the shard
//	t topic              topic
//	x topic from         hole              messages deleted inside a topic
//	m topic seq          message
//	c sub                cursor            what a subscription is
//	p sub                place             how far it is
//	g sub                gap               what it gave up and was not heard of
//	r sub from           range             settled above its floor
//	d sub seq            deliveries        failed ones of a message
//	l lane               lane
//	f lane n             refusal
//
// Letters are part of the format and are never used again for something else.
type KeyKind byte

const (
	KeyHeader     KeyKind = 'h'
	KeyTopic      KeyKind = 't'
	KeyHole       KeyKind = 'x'
	KeyMessage    KeyKind = 'm'
	KeyCursor     KeyKind = 'c'
	KeyPlace      KeyKind = 'p'
	KeyGap        KeyKind = 'g'
	KeyRange      KeyKind = 'r'
	KeyDeliveries KeyKind = 'd'
	KeyLane       KeyKind = 'l'
	KeyRefusal    KeyKind = 'f'
)

// numbers is how many numbers follow the kind; -1 if there is no such kind.
func (k KeyKind) numbers() int {
	switch k {
	case KeyHeader:
		return 0
	case KeyTopic, KeyCursor, KeyPlace, KeyGap, KeyLane:
		return 1
	case KeyHole, KeyMessage, KeyRange, KeyDeliveries, KeyRefusal:
		return 2
	}
	return -1
}

// AppendKey appends the key of that kind with these numbers, or, with fewer than the kind has, the prefix of all that
// begin with them.
func AppendKey(b []byte, kind KeyKind, numbers ...uint64) []byte {
	b = append(b, byte(kind))
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

// AppendKeyAfter appends the first key that is beyond all that begin with kind and numbers.
func AppendKeyAfter(b []byte, kind KeyKind, numbers ...uint64) []byte {
	start := len(b)
	b = AppendKey(b, kind, numbers...)
	for i := len(b) - 1; i > start; i-- {
		b[i]++
		if b[i] != 0 {
			return b
		}
	}
	// All numbers are at their highest: what follows is the next kind.
	b = b[:start+1]
	b[start]++
	return b
}

// ParseKey takes a key apart; the second number is zero for kinds that have only one. False if it is no key of ours.
func ParseKey(key []byte) (kind KeyKind, first, second uint64, ok bool) {
	if len(key) == 0 {
		return 0, 0, 0, false
	}
	kind = KeyKind(key[0])
	key = key[1:]
	switch n := kind.numbers(); {
	case n < 0 || len(key) != 8*n:
		return 0, 0, 0, false
	case n == 2:
		second = binary.BigEndian.Uint64(key[8:])
		fallthrough
	case n == 1:
		first = binary.BigEndian.Uint64(key)
	}
	return kind, first, second, true
}
