package amqp

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// applied is the whole message that comes out of an edit.
func applied(t testing.TB, e *Edit, payload []byte) *Message {
	t.Helper()
	s := scan(t, payload)
	head, err := e.AppendHead([]byte("front"), s)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(head, []byte("front")) {
		t.Fatalf("what was there is gone: %q", head)
	}
	m, err := DecodeMessage(join(head[len("front"):], s.Tail()))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestEdit(t *testing.T) {
	all := join(secHeader, secDelivery, secMessage, secProperties, secApp, secData, secFooter)
	bare := join(secProperties, secData)
	header := Header{Priority: 4, DeliveryCount: 3}
	decoded := func(section []byte) *Message {
		m, err := DecodeMessage(section)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	oldHeader, oldDelivery, oldMessage := decoded(secHeader).Header, decoded(secDelivery).DeliveryAnnotations, decoded(secMessage).MessageAnnotations

	for _, c := range []struct {
		name     string
		payload  []byte
		edit     Edit
		header   *Header
		delivery Map
		message  Map
	}{
		{"nothing", all, Edit{}, oldHeader, oldDelivery, oldMessage},
		{"nothing of nothing", bare, Edit{}, nil, nil, nil},
		{"new header", all, Edit{Header: &header}, &header, oldDelivery, oldMessage},
		{"new header for none", bare, Edit{Header: &header}, &header, nil, nil},
		{"drop", all, Edit{DropDeliveryAnnotations: true}, oldHeader, nil, oldMessage},
		{"drop nothing", bare, Edit{DropDeliveryAnnotations: true}, nil, nil, nil},
		{
			"drop and set", all, Edit{DropDeliveryAnnotations: true, DeliveryAnnotations: []Change{Set("x-opt-new", "n")}},
			oldHeader, Map{{Symbol("x-opt-new"), "n"}}, oldMessage,
		},
		{
			"add to both", all, Edit{DeliveryAnnotations: []Change{Set("x-opt-a", 1)}, MessageAnnotations: []Change{Set("x-opt-b", "b"), Set("x-opt-c", nil)}},
			oldHeader, append(oldDelivery[:1:1], MapEntry{Symbol("x-opt-a"), int64(1)}),
			append(oldMessage[:3:3], MapEntry{Symbol("x-opt-b"), "b"}, MapEntry{Symbol("x-opt-c"), nil}),
		},
		{
			"add to none", bare, Edit{DeliveryAnnotations: []Change{Set("x-opt-a", 1)}, MessageAnnotations: []Change{Set("x-opt-b", "b")}},
			nil, Map{{Symbol("x-opt-a"), int64(1)}}, Map{{Symbol("x-opt-b"), "b"}},
		},
		{
			"replace in place", all, Edit{MessageAnnotations: []Change{Set("x-opt-m", uint8(1))}},
			oldHeader, oldDelivery, Map{{Symbol("x-opt-m"), uint8(1)}, oldMessage[1], oldMessage[2]},
		},
		{
			"remove", all, Edit{DeliveryAnnotations: []Change{Remove("x-opt-d")}, MessageAnnotations: []Change{Remove("x-opt-m"), Remove("none")}},
			oldHeader, nil, oldMessage[1:],
		},
		{"remove from none", bare, Edit{MessageAnnotations: []Change{Remove("a")}}, nil, nil, nil},
		{
			"the last change counts", all, Edit{MessageAnnotations: []Change{Set("x-opt-m", 1), Set("x", 1), Remove("x-opt-m"), Set("x", 2), Set("x-opt-n", 1), Set("x-opt-n", 2)}},
			oldHeader, oldDelivery, Map{oldMessage[1], {Symbol("x-opt-n"), int64(2)}, {Symbol("x"), int64(2)}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := applied(t, &c.edit, c.payload)
			want := decoded(c.payload)
			want.Header, want.DeliveryAnnotations, want.MessageAnnotations = c.header, c.delivery, c.message
			if !reflect.DeepEqual(m, want) {
				t.Errorf("got  %+v\nwant %+v", m, want)
			}
		})
	}
}

// Without changes the head is, byte for byte, what came, whatever its encoding.
func TestEditLeavesUnchangedSectionsAlone(t *testing.T) {
	header := symbolic("amqp:header:list", unhex(t, "00 53 70 d0 00000006 00000002 41 40"))
	message := unhex(t, "00 53 72 d1 0000000b 00000002 b3 00000001 61 42")
	s := scan(t, join(header, message, secValue))
	head, err := new(Edit).AppendHead(nil, s)
	if err != nil || !bytes.Equal(head, join(header, message)) {
		t.Errorf("%x, %v", head, err)
	}
	// An entry that is not named keeps its encoding, too.
	head, err = (&Edit{MessageAnnotations: []Change{Set("b", 1)}}).AppendHead(nil, s)
	if err != nil || !bytes.Contains(head, unhex(t, "b3 00000001 61 42")) {
		t.Errorf("%x, %v", head, err)
	}
}

func TestEditOfLongMaps(t *testing.T) {
	old := make(Map, 200)
	var changes []Change
	want := make(Map, 0, 300)
	for i := range old {
		old[i] = MapEntry{Symbol(fmt.Sprintf("old-%d", i)), uint32(i)}
		if i%2 == 0 {
			changes = append(changes, Remove(Symbol(fmt.Sprintf("old-%d", i))))
		} else {
			want = append(want, old[i])
		}
	}
	for i := range 100 {
		key := Symbol(fmt.Sprintf("new-%d", i))
		changes = append(changes, Set(key, strings.Repeat("v", i)))
		want = append(want, MapEntry{key, strings.Repeat("v", i)})
	}
	m := applied(t, &Edit{MessageAnnotations: changes}, join(appendMapSection(nil, CodeMessageAnnotations, old), secValue))
	if !reflect.DeepEqual(m.MessageAnnotations, want) {
		t.Errorf("got %v", m.MessageAnnotations)
	}
}

func TestEditErrors(t *testing.T) {
	for name, c := range map[string]struct{ in, typ, reason string }{
		"delivery annotations are broken": {"00 53 71 c1 02 01 40", "delivery-annotations", "odd number"},
		"message annotations are broken":  {"00 53 72 c1 04 02 a1 01 57", "message-annotations", "truncated"},
		"a changed key twice":             {"00 53 72 c1 09 04 a3 01 61 40 a3 01 61 40", "message-annotations", "key twice"},
	} {
		e := Edit{DeliveryAnnotations: []Change{Set("a", 1)}, MessageAnnotations: []Change{Set("a", 1)}}
		b, err := e.AppendHead([]byte("front"), scan(t, unhex(t, c.in)))
		wantFieldError(t, err, c.typ, "", ErrCondDecodeError, c.reason)
		if string(b) != "front" {
			t.Errorf("%s: leaves %q", name, b)
		}
	}
}
