package amqp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// unhex reads hex with spaces in between.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// encodings has every encoding of every type (1.2). The first of those with the same value is the shortest, which we write.
var encodings = []struct {
	name  string
	bytes string
	value any
}{
	{"null", "40", nil},
	{"true", "41", true},
	{"true octet", "56 01", true},
	{"false", "42", false},
	{"false octet", "56 00", false},
	{"ubyte", "50 ff", uint8(255)},
	{"ushort", "60 01 02", uint16(0x102)},
	{"uint0", "43", uint32(0)},
	{"uint0 small", "52 00", uint32(0)},
	{"uint0 full", "70 00000000", uint32(0)},
	{"smalluint", "52 ff", uint32(255)},
	{"smalluint full", "70 000000ff", uint32(255)},
	{"uint", "70 ffffffff", uint32(math.MaxUint32)},
	{"ulong0", "44", uint64(0)},
	{"ulong0 small", "53 00", uint64(0)},
	{"ulong0 full", "80 0000000000000000", uint64(0)},
	{"smallulong", "53 ff", uint64(255)},
	{"smallulong full", "80 00000000000000ff", uint64(255)},
	{"ulong", "80 ffffffffffffffff", uint64(math.MaxUint64)},
	{"byte", "51 80", int8(-128)},
	{"short", "61 ff7f", int16(-129)},
	{"smallint", "54 80", int32(-128)},
	{"smallint full", "71 ffffff80", int32(-128)},
	{"int", "71 ffffff7f", int32(-129)},
	{"int above", "71 00000080", int32(128)},
	{"smalllong", "55 7f", int64(127)},
	{"smalllong full", "81 000000000000007f", int64(127)},
	{"long", "81 8000000000000000", int64(math.MinInt64)},
	{"float", "72 c0490fdb", float32(-3.1415927)},
	{"double", "82 400921fb54442d18", float64(math.Pi)},
	{"decimal32", "74 01020304", Decimal32{1, 2, 3, 4}},
	{"decimal64", "84 0102030405060708", Decimal64{1, 2, 3, 4, 5, 6, 7, 8}},
	{"decimal128", "94 000102030405060708090a0b0c0d0e0f", Decimal128{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
	{"char", "73 0001f4e8", Char('📨')},
	{"timestamp", "83 0000013167adb8a1", time.Date(2011, 7, 26, 18, 21, 3, 521e6, time.UTC)},
	{"timestamp lowest", "83 8000000000000000", Timestamp(math.MinInt64)},
	{"uuid", "98 000102030405060708090a0b0c0d0e0f", UUID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
	{"vbin8", "a0 02 00ff", []byte{0, 255}},
	{"vbin32", "b0 00000002 00ff", []byte{0, 255}},
	{"vbin8 empty", "a0 00", []byte{}},
	{"str8", "a1 05 c3a4 62 63 64", "äbcd"},
	{"str32", "b1 00000005 c3a4 62 63 64", "äbcd"},
	{"sym8", "a3 01 61", Symbol("a")},
	{"sym32", "b3 00000001 61", Symbol("a")},
	{"list0", "45", []any{}},
	{"list0 as list8", "c0 01 00", []any{}},
	{"list0 as list32", "d0 00000004 00000000", []any{}},
	{"list8", "c0 04 02 41 52 07", []any{true, uint32(7)}},
	{"list32", "d0 00000007 00000002 41 52 07", []any{true, uint32(7)}},
	{"map8 empty", "c1 01 00", Map{}},
	{"map32 empty", "d1 00000004 00000000", Map{}},
	{"map8", "c1 07 04 54 02 41 54 01 40", Map{{int32(2), true}, {int32(1), nil}}},
	{"map32", "d1 0000000a 00000004 54 02 41 54 01 40", Map{{int32(2), true}, {int32(1), nil}}},
	{"array8 of string8", "e0 06 02 a1 01 61 01 62", Array{Items: []any{"a", "b"}}},
	{"array32 of string8", "f0 00000009 00000002 a1 01 61 01 62", Array{Items: []any{"a", "b"}}},
	{"array8 of string32", "e0 0c 02 b1 00000001 61 00000001 62", Array{Items: []any{"a", "b"}}},
	{"array of boolean", "e0 04 02 56 00 01", Array{Items: []any{false, true}}},
	{"array of true", "e0 02 03 41", Array{Items: []any{true, true, true}}},
	{"array of null", "e0 02 02 40", Array{Items: []any{nil, nil}}},
	{"array of list0", "e0 02 02 45", Array{Items: []any{[]any{}, []any{}}}},
	{"array of lists", "e0 06 02 c0 01 00 01 00", Array{Items: []any{[]any{}, []any{}}}},
	{"array of maps", "e0 06 01 c1 03 02 41 42", Array{Items: []any{Map{{true, false}}}}},
	{"array of arrays", "e0 08 02 e0 02 01 41 02 02 42", Array{Items: []any{Array{Items: []any{true}}, Array{Items: []any{false, false}}}}},
	{"array of described", "e0 07 02 00 53 10 50 01 02", Array{Items: []any{Described{uint64(16), uint8(1)}, Described{uint64(16), uint8(2)}}}},
	{"array of twice described", "e0 09 01 00 53 10 00 53 11 50 01", Array{Items: []any{Described{uint64(16), Described{uint64(17), uint8(1)}}}}},
	{"array empty", "e0 02 00 a3", Array{Constructor: []byte{0xa3}}},
	{"array empty described", "e0 05 00 00 53 10 c0", Array{Constructor: []byte{0, 0x53, 0x10, 0xc0}}},
	{"described by code", "00 53 24 45", Described{uint64(0x24), []any{}}},
	{"described by symbol", "00 a3 03 613a62 a1 01 63", Described{Symbol("a:b"), "c"}},
	{"described by described", "00 00 53 01 53 02 41", Described{Described{uint64(1), uint64(2)}, true}},
	// The figures of 1.2 and 1.3.1.
	{"figure string", "a1 1e 48656c6c6f20476c6f72696f7573204d6573736167696e6720576f726c64", "Hello Glorious Messaging World"},
	{"figure url", "00 a1 03 55524c a1 1e 687474703a2f2f6578616d706c652e6f72672f68656c6c6f2d776f726c64", Described{"URL", "http://example.org/hello-world"}},
}

func TestDecodeEveryEncoding(t *testing.T) {
	for _, c := range encodings {
		t.Run(c.name, func(t *testing.T) {
			v, rest, err := DecodeValue(append(unhex(t, c.bytes), "rest"...))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(v, c.value) {
				t.Errorf("got %#v, want %#v", v, c.value)
			}
			if string(rest) != "rest" {
				t.Errorf("rest is %x", rest)
			}
		})
	}
}

func TestAppendTheShortestEncoding(t *testing.T) {
	for i, c := range encodings {
		want := unhex(t, c.bytes)
		for _, d := range encodings[:i] {
			if reflect.DeepEqual(d.value, c.value) {
				want = unhex(t, d.bytes)
				break
			}
		}
		got := AppendValue([]byte("front"), c.value)[len("front"):]
		if len(got) > len(want) && !strings.HasPrefix(c.name, "array of") {
			t.Errorf("%s: %x is longer than %x", c.name, got, want)
		}
		if !strings.HasPrefix(c.name, "array of") && !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", c.name, got, want)
		}
		if v, _, err := DecodeValue(got); err != nil || !reflect.DeepEqual(v, c.value) {
			t.Errorf("%s: %x decodes to %#v, %v", c.name, got, v, err)
		}
	}
}

// Values whose encodings need the long forms, and arrays whose items need different widths.
func TestLongEncodings(t *testing.T) {
	long := strings.Repeat("x", 256)
	many := make([]any, 256)
	for i := range many {
		many[i] = uint32(i)
	}
	manyPairs := make(Map, 128)
	for i := range manyPairs {
		manyPairs[i] = MapEntry{uint32(i), nil}
	}
	for _, c := range []struct {
		v     any
		first byte
	}{
		{long, 0xb1}, {long[:255], 0xa1}, {Symbol(long), 0xb3}, {Symbol(long[:255]), 0xa3}, {[]byte(long), 0xb0}, {[]byte(long[:255]), 0xa0},
		{[]any{long}, 0xd0}, {many, 0xd0}, {many[:64], 0xc0}, {Map{{"k", long}}, 0xd1}, {manyPairs, 0xd1}, {manyPairs[:20], 0xc1},
		{Array{Items: []any{long, ""}}, 0xf0}, {Array{Items: many}, 0xf0}, {Array{Items: many[:200]}, 0xe0},
		{Array{Items: []any{int64(-1), int64(1000)}}, 0xe0}, {Array{Items: []any{int32(-1), int32(1)}}, 0xe0},
		{Array{Items: []any{uint64(1), uint64(256)}}, 0xe0}, {Array{Items: []any{[]byte{1}, []byte(long)}}, 0xf0},
		{Array{Items: []any{Symbol("a"), Symbol(long)}}, 0xf0}, {Array{Items: []any{Char('a'), Char('b')}}, 0xe0},
		{Array{Items: []any{[]any{}, many}}, 0xf0}, {Array{Items: []any{float32(1), float32(2)}}, 0xe0},
		{Array{Items: []any{uint16(1), uint16(2)}}, 0xe0}, {Array{Items: []any{int16(1)}}, 0xe0}, {Array{Items: []any{int8(-1)}}, 0xe0},
		{Array{Items: []any{UUID{1}}}, 0xe0}, {Array{Items: []any{Decimal32{1}}}, 0xe0}, {Array{Items: []any{Decimal64{1}}}, 0xe0},
		{Array{Items: []any{Decimal128{1}}}, 0xe0}, {Array{Items: []any{Timestamp(-1), Timestamp(1)}}, 0xe0},
		{Array{Items: []any{float64(1)}}, 0xe0}, {Array{Items: []any{Map{}, manyPairs}}, 0xf0},
	} {
		b := AppendValue(nil, c.v)
		if b[0] != c.first {
			t.Errorf("%T begins with 0x%02x, want 0x%02x", c.v, b[0], c.first)
		}
		v, rest, err := DecodeValue(b)
		if err != nil || len(rest) > 0 || !reflect.DeepEqual(v, c.v) {
			t.Errorf("%T: %v, %d bytes left; got %#v", c.v, err, len(rest), v)
		}
	}
}

// Go types that are written but read back as another.
func TestConvenienceTypes(t *testing.T) {
	for _, c := range []struct{ in, out any }{
		{7, int64(7)},
		{map[Symbol]any{"b": 1, "a": "x"}, Map{{Symbol("a"), "x"}, {Symbol("b"), int64(1)}}},
		{map[string]any{"b": nil, "a": true}, Map{{"a", true}, {"b", nil}}},
		{[]Symbol{"a", "b"}, Array{Items: []any{Symbol("a"), Symbol("b")}}},
		{[]string{"a"}, Array{Items: []any{"a"}}},
		{[]Symbol{}, Array{Constructor: []byte{0xa3}}},
		{[]string{}, Array{Constructor: []byte{0xa1}}},
		{Array{}, Array{Constructor: []byte{0x40}}},
		{Array{Items: []any{1, 2}}, Array{Items: []any{int64(1), int64(2)}}},
		{Array{Items: []any{[]Symbol{"a"}, []string{"b"}}}, Array{Items: []any{Array{Items: []any{Symbol("a")}}, Array{Items: []any{"b"}}}}},
		{Described{nil, "bare"}, "bare"},
		{Array{Items: []any{Described{nil, "bare"}}}, Array{Items: []any{"bare"}}},
		{"a\xffb", "a\uFFFDb"},
		{Symbol("aäb"), Symbol("a?b")},
		{Timestamp(1).Add(time.Microsecond).In(time.FixedZone("x", 3600)), Timestamp(1)},
	} {
		v, _, err := DecodeValue(AppendValue(nil, c.in))
		if err != nil || !reflect.DeepEqual(v, c.out) {
			t.Errorf("%#v: got %#v, %v; want %#v", c.in, v, err, c.out)
		}
	}
}

func TestMalformedValues(t *testing.T) {
	for _, c := range []struct{ name, bytes, reason string }{
		{"nothing", "", "truncated"},
		{"unknown format code", "57 00", "unknown format code 0x57"},
		{"extended format code", "4f 00", "unknown format code 0x4f"},
		{"boolean 2", "56 02", "boolean"},
		{"truncated uint", "70 0000", "truncated"},
		{"truncated size", "b0 0000", "truncated"},
		{"size above input", "a0 05 00", "truncated"},
		{"huge size", "b1 ffffffff", "truncated"},
		{"string not UTF-8", "a1 01 ff", "UTF-8"},
		{"symbol not ASCII", "a3 02 c3a4", "ASCII"},
		{"list without room for its count", "c0 00", "no room for the count"},
		{"list32 without room for its count", "d0 00000003 000000", "no room for the count"},
		{"list with too high a count", "c0 02 02 40", "more items"},
		{"list32 with a huge count", "d0 00000005 ffffffff 40", "more items"},
		{"list with too low a count", "c0 03 01 40 40", "behind the last item"},
		{"list of none with bytes", "c0 02 00 40", "behind the last item"},
		{"list item beyond the list", "c0 03 01 a1 05 6162636465", "truncated"},
		{"map with odd items", "c1 02 01 40", "odd number"},
		{"map with a key twice", "c1 05 04 43 41 43 42", "key twice"},
		{"map with a key twice in two encodings", "c1 0a 04 52 07 41 70 00000007 42", "key twice"},
		{"map with a list key twice", "c1 05 04 45 41 45 41", "key twice"},
		{"array without constructor", "e0 01 01", "truncated"},
		{"array of unknown", "e0 03 01 57 00", "unknown format code"},
		{"array with too high a count", "e0 03 02 50 01", "more items"},
		{"array32 with a huge count", "f0 00000006 ffffffff 50 01", "more items"},
		{"array32 of huge nothing", "f0 00000005 ffffffff 40", "without bytes"},
		{"array with too low a count", "e0 04 01 50 01 02", "behind the last item"},
		{"array of none with bytes", "e0 04 00 50 01 02", "behind the last item"},
		{"array of described without value", "e0 04 01 00 53 10", "truncated"},
		{"described without value", "00 53 10", "truncated"},
		{"described without descriptor", "00", "truncated"},
		{"described by null", "00 40 41", "descriptor is null"},
		{"array described by null", "e0 05 01 00 40 50 01", "descriptor is null"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, _, err := DecodeValue(unhex(t, c.bytes))
			var de *DecodeError
			if !errors.As(err, &de) {
				t.Fatalf("decodes to %#v, %v", v, err)
			}
			if de.Condition != ErrCondDecodeError || !strings.Contains(de.Reason, c.reason) {
				t.Errorf("got %v, want ...%s...", de, c.reason)
			}
		})
	}
}

// nested is a value of the given depth in which each level is wrapped by wrap.
func nested(depth int, wrap func(inner []byte) []byte) []byte {
	b := []byte{0x41}
	for range depth {
		b = wrap(b)
	}
	return b
}

func TestNestingIsBounded(t *testing.T) {
	long := func(code byte, count byte, front ...byte) func([]byte) []byte {
		return func(inner []byte) []byte {
			inner = append(append([]byte{}, front...), inner...)
			size := len(inner) + 4
			return append([]byte{code, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size), 0, 0, 0, count}, inner...)
		}
	}
	for name, wrap := range map[string]func([]byte) []byte{
		"lists":       long(0xd0, 1),
		"map values":  long(0xd1, 2, 0x41),
		"described":   func(inner []byte) []byte { return append([]byte{0, 0x53, 0x10}, inner...) },
		"descriptors": func(inner []byte) []byte { return append(append([]byte{0}, inner...), 0x40) },
	} {
		if _, _, err := DecodeValue(nested(MaxDepth, wrap)); err != nil {
			t.Errorf("%s: %d deep: %v", name, MaxDepth, err)
		}
		if _, _, err := DecodeValue(nested(MaxDepth+1, wrap)); err == nil || !strings.Contains(err.Error(), "nested deeper") {
			t.Errorf("%s: %d deep: %v", name, MaxDepth+1, err)
		}
		if _, _, err := DecodeValue(nested(5000, wrap)); err == nil || !strings.Contains(err.Error(), "nested deeper") {
			t.Errorf("%s: 5000 deep: %v", name, err)
		}
	}
	// Skipping does not look into lists, but descriptors nest without sizes.
	if _, err := PerformativeCode(nested(5000, func(b []byte) []byte { return append(append([]byte{0}, b...), 0x40) })); err == nil {
		t.Error("5000 descriptors are skipped")
	}
	constructors := append([]byte{0xf0, 0, 0, 3, 0xec, 0, 0, 0, 1}, bytes.Repeat([]byte{0, 0x43}, 500)...)
	if _, _, err := DecodeValue(constructors); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Errorf("500 descriptors of an array: %v", err)
	}
}

func TestCheckValue(t *testing.T) {
	for _, v := range []any{nil, 1, "a", Map{{"a", 1}}, []any{[]any{}}, Array{Items: []any{"a", "b"}}} {
		if err := CheckValue(v); err != nil {
			t.Errorf("%#v: %v", v, err)
		}
	}
	deep := any("x")
	for range MaxDepth + 1 {
		deep = []any{deep}
	}
	for _, v := range []any{
		struct{}{}, []any{uint(1)}, Map{{"a", 1}, {"a", 2}}, Array{Items: []any{"a", 1}}, deep,
		Array{Items: []any{Described{uint64(1), 1}, Described{uint64(2), 1}}}, Array{Items: []any{Described{uint64(1), 1}, 1}},
	} {
		if err := CheckValue(v); err == nil {
			t.Errorf("%#v passes", v)
		}
	}
}

func TestMapGet(t *testing.T) {
	m := Map{{uint64(1), "one"}, {"a", "string"}, {Symbol("b"), nil}}
	if v, ok := m.Get("a"); !ok || v != "string" {
		t.Error(v, ok)
	}
	if v, ok := m.Get("b"); !ok || v != nil {
		t.Error(v, ok)
	}
	if _, ok := m.Get("c"); ok {
		t.Error("c is found")
	}
}

func TestUUIDString(t *testing.T) {
	u := UUID{0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00}
	if s := u.String(); s != "123e4567-e89b-12d3-a456-426614174000" {
		t.Error(s)
	}
}
