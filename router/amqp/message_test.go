package amqp

import (
	"reflect"
	"testing"
)

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	for _, c := range []struct {
		name string
		m    Message
	}{
		{"null", Message{}},
		{"value", Message{Value: Map{{"k", []any{nil, uint8(1)}}}}},
		{"data", Message{Data: [][]byte{[]byte("a"), {}, []byte("b")}}},
		{"sequences", Message{Sequences: [][]any{{"a"}, {}, {int64(1), nil}}}},
		{"all", Message{
			Header:              &Header{Durable: true, Priority: 9, TTL: Some(uint32(0)), DeliveryCount: 1},
			DeliveryAnnotations: Map{{Symbol("a"), "b"}}, MessageAnnotations: Map{{uint64(7), true}},
			Properties:            &Properties{MessageID: uint64(0), CorrelationID: []byte("c"), To: "a", UserID: []byte{}, GroupSequence: Some(uint32(0))},
			ApplicationProperties: Map{{"x", 1.5}, {"y", Timestamp(5)}},
			Data:                  [][]byte{[]byte("d")}, Footer: Map{{Symbol("f"), nil}},
		}},
		{"empty sections", Message{
			Header: &Header{Priority: DefaultPriority}, DeliveryAnnotations: Map{}, MessageAnnotations: Map{}, Properties: &Properties{},
			ApplicationProperties: Map{}, Footer: Map{}, Value: "v",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := DecodeMessage(c.m.Append(nil))
			if err != nil || !reflect.DeepEqual(got, &c.m) {
				t.Errorf("got %+v, %v; want %+v", got, err, c.m)
			}
		})
	}
}

func TestMessageWithoutBody(t *testing.T) {
	if m, err := DecodeMessage(nil); err != nil || !reflect.DeepEqual(m, &Message{}) {
		t.Errorf("%+v, %v", m, err)
	}
	// What we write has a body in any case (3.2).
	for _, m := range []Message{{}, {Data: [][]byte{}}, {Sequences: [][]any{}}} {
		if s := scan(t, m.Append(nil)); s.BodyKind() == BodyNone {
			t.Errorf("%+v is written without a body", m)
		}
	}
}

func TestDecodeMessageErrors(t *testing.T) {
	for _, c := range []struct{ in, typ, field, reason string }{
		{"00 53 70 c0 02 01 43", "header", "durable", "expected boolean"},
		{"00 53 71 c1 02 01 40", "delivery-annotations", "", "odd number"},
		{"00 53 73 c0 02 01 43", "properties", "message-id", "found uint"},
		{"00 53 74 c1 09 04 a1 01 61 40 a1 01 61 40", "application-properties", "", "key twice"},
		{"00 53 76 c0 02 01 57", "body", "", "unknown format code"},
		{"00 53 77 57", "body", "", "unknown format code"},
		{"00 53 77 43 00 53 78 c1 04 02 a1 01 57", "footer", "", "truncated"},
	} {
		_, err := DecodeMessage(unhex(t, c.in))
		wantFieldError(t, err, c.typ, c.field, "", c.reason)
	}
}
