package amqp

import (
	"reflect"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"
)

// What we write must be readable for somebody else's decoder, too: go-amqp reads our messages, we read what it makes of them.
func TestGoAMQPReadsOurMessages(t *testing.T) {
	at := time.Date(2024, 2, 29, 12, 0, 0, 5e6, time.UTC)
	for _, m := range []Message{
		{Value: "text"},
		{Data: [][]byte{[]byte("one"), []byte("two"), make([]byte, 300)}},
		{Sequences: [][]any{{"a", int64(1)}, {}}},
		{Value: Map{{"k", []any{nil, true, uint8(1), uint16(2), uint32(300), uint64(1 << 40), int8(-1), int16(-2), int32(-300), int64(-1 << 40), float32(1.5), 2.5, at}}}},
		{Value: []any{UUID{1}, []byte{1}, "s", Map{}, Map{{"x", "y"}}}},
		{
			Header:              &Header{Durable: true, Priority: 7, TTL: Some(uint32(1500)), FirstAcquirer: true, DeliveryCount: 3},
			DeliveryAnnotations: Map{{Symbol("x-opt-d"), int64(1)}},
			MessageAnnotations:  Map{{Symbol("x-opt-m"), "m"}},
			Properties: &Properties{
				MessageID: "id", UserID: []byte("u"), To: "to", Subject: "s", ReplyTo: "r", CorrelationID: uint64(300), ContentType: "text/plain",
				ContentEncoding: "gzip", AbsoluteExpiryTime: Some(at.UnixMilli()), CreationTime: Some(at.UnixMilli()), GroupID: "g",
				GroupSequence: Some(uint32(1)), ReplyToGroupID: "rg",
			},
			ApplicationProperties: Map{{"n", 1.5}},
			Value:                 nil,
			Footer:                Map{{Symbol("x-opt-f"), true}},
		},
	} {
		var theirs goamqp.Message
		if err := theirs.UnmarshalBinary(m.Append(nil)); err != nil {
			t.Errorf("%+v: %v", m, err)
			continue
		}
		b, err := theirs.MarshalBinary()
		if err != nil {
			t.Errorf("%+v: %v", m, err)
			continue
		}
		got, err := DecodeMessage(b)
		if err != nil {
			t.Errorf("%+v comes back as %x: %v", m, b, err)
			continue
		}
		if len(m.Sequences) == 0 && m.Data == nil && m.Value == nil {
			got.Value = nil
		}
		if !reflect.DeepEqual(got, &m) {
			t.Errorf("got  %+v\nwant %+v", got, &m)
		}
	}
}
