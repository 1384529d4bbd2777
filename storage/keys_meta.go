package storage

import "encoding/binary"

// MetaKind is what a key of the meta group's state begins with. The meta group has a state of its own, so these never
// meet a shard's kinds; they are capitals so that a dump of the wrong group is seen at once.
//
//	H                    header            epoch, feature level, counters
//	P                    policy            of addresses
//	L                    slots             which shard has which slot
//	S sub                subscription
//	C address            capture           how many need it, and since which epoch
//	R boot name          router            one incarnation of it
//
// Letters are part of the format and are never used again for something else. Keys that begin with the byte 0 are not
// the state's own.
type MetaKind byte

// The kinds of keys.
const (
	MetaHeader       MetaKind = 'H'
	MetaPolicy       MetaKind = 'P'
	MetaSlots        MetaKind = 'L'
	MetaSubscription MetaKind = 'S'
	MetaCapture      MetaKind = 'C'
	MetaRouter       MetaKind = 'R'
)

// AppendMetaKey appends the key of the header, the policy or the slots.
func AppendMetaKey(b []byte, kind MetaKind) []byte { return append(b, byte(kind)) }

// AppendSubscriptionKey appends the key of a subscription.
func AppendSubscriptionKey(b []byte, sub uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, byte(MetaSubscription)), sub)
}

// AppendCaptureKey appends the key of an address that is captured.
func AppendCaptureKey(b []byte, address string) []byte {
	return append(append(b, byte(MetaCapture)), address...)
}

// AppendRouterKey appends the key of a router's incarnation. The number comes first, having a length of its own.
func AppendRouterKey(b []byte, name string, boot uint64) []byte {
	b = binary.BigEndian.AppendUint64(append(b, byte(MetaRouter)), boot)
	return append(b, name...)
}

// MetaKey is a key of the meta group's state, taken apart.
type MetaKey struct {
	Kind   MetaKind
	Number uint64 // the subscription, or the router's incarnation
	Text   string // the address, or the router's name
}

// ParseMetaKey takes a key apart. False if it is no key of the meta group's.
func ParseMetaKey(key []byte) (MetaKey, bool) {
	if len(key) == 0 {
		return MetaKey{}, false
	}
	k, rest := MetaKey{Kind: MetaKind(key[0])}, key[1:]
	switch k.Kind {
	case MetaHeader, MetaPolicy, MetaSlots:
		return k, len(rest) == 0
	case MetaCapture:
		k.Text = string(rest)
		return k, true
	case MetaSubscription, MetaRouter:
		if len(rest) < 8 {
			return MetaKey{}, false
		}
		k.Number = binary.BigEndian.Uint64(rest)
		k.Text = string(rest[8:])
		return k, k.Kind == MetaRouter || k.Text == ""
	}
	return MetaKey{}, false
}
