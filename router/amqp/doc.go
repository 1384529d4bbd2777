// Package amqp is the bytes of AMQP 1.0: types and their encodings (part 1 of the specification), frames and
// performatives (part 2), message sections, termini and delivery states (part 3), the types of the transaction
// coordinator that appear in links and dispositions (part 4) and SASL frames (part 5).
//
// # What it owns
//
// The translation between bytes and Go values, in both directions, and nothing else: every encoding of every type
// is read, the most compact one is written. It knows what the specification says about a single frame or a single
// message: which fields are mandatory, of which type they are, what an absent one means.
//
// # What it does not know
//
// Sockets, connections, sessions, links, credit, time. Whether a frame may come now, whether a handle is in use,
// which addresses exist, which message formats are supported: all that is for the packages above.
// It uses the standard library only, keeps no state, and never logs.
//
// # Decoding
//
// Bytes from a peer never make it panic, never make it allocate by a length that the peer merely claims, and never
// nest deeper than [MaxDepth]. A decoder answers with a [*DecodeError], which names the type and the field and
// carries the error condition that the peer should be told. Strictness ends where the specification leaves room:
// composites with fewer or more fields than we know are accepted, unknown described types are carried as
// [Described], a single symbol or a list is as good as an array of symbols, and the keys of a fields map may be strings.
//
// Spec defaults are applied on decoding, so that the absence of a field needs no question; where it means something of
// its own the field is an [Optional]. What a decoder returns is a copy and outlives the input, with three
// exceptions, made for the hot path: the payload and the delivery-tag of a [Transfer], and everything that [Sections]
// and [Raw] hand out, are slices of the input. Transfer, Flow and Disposition decode into a struct of the caller's
// without allocating (unless they carry maps or errors).
//
// # Encoding
//
// Encoders append to a slice, take the shortest form, and leave trailing nulls out. They never write what the decoders
// would refuse: strings are made valid UTF-8, symbols ASCII. A Go value without AMQP counterpart inside an `any` is a
// mistake in our own code and panics; [CheckValue] tells beforehand.
//
// # Values
//
// The Go types that stand for AMQP types wherever a value is an `any`:
//
//	null                     nil
//	boolean                  bool
//	ubyte ushort uint ulong  uint8 uint16 uint32 uint64
//	byte short int long      int8 int16 int32 int64 (int is written as long)
//	float double             float32 float64
//	decimal32/64/128         Decimal32 Decimal64 Decimal128
//	char                     Char
//	timestamp                time.Time (UTC, milliseconds)
//	uuid                     UUID
//	binary                   []byte
//	string                   string
//	symbol                   Symbol
//	list                     []any
//	map                      Map (map[Symbol]any and map[string]any are written too, keys sorted)
//	array                    Array ([]Symbol and []string are written too)
//	described                Described
//
// # Messages
//
// A message in transit stays as it came: [Sections] finds where its sections lie, [Edit] gives it new annotations or
// a new header in front of the untouched rest. [Message] builds or takes apart a whole one, for tools and tests.
package amqp
