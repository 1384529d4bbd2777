package interop

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/router/amqp"
)

var goReplyTo = "go-amqp"

// goKind is which of goKinds a message from go-amqp is; "" for others.
func goKind(m *goamqp.Message) string {
	if p := m.Properties; p != nil && p.ReplyTo != nil && *p.ReplyTo == goReplyTo && p.Subject != nil && goKinds[*p.Subject] != nil {
		return *p.Subject
	}
	return ""
}

// goKinds are messages of the kinds that go-amqp can write.
var goKinds = func() map[string]func() *goamqp.Message {
	kinds := map[string]func() *goamqp.Message{
		"data-many": func() *goamqp.Message {
			return &goamqp.Message{Data: [][]byte{[]byte("one"), pattern(300), []byte("three")}}
		},
		"sequences": func() *goamqp.Message {
			return &goamqp.Message{Sequence: [][]any{{int64(1), "two"}, {[]byte("three")}}}
		},
		"sections": func() *goamqp.Message {
			return &goamqp.Message{
				Value:                 "body",
				ApplicationProperties: map[string]any{"a": uint32(1)}, // one: this library writes maps in random order
				Annotations:           goamqp.Annotations{"x-opt-a": int64(7)},
				Footer:                goamqp.Annotations{"x-opt-checksum": []byte{1, 2, 3}},
			}
		},
	}
	for name, v := range map[string]any{
		"true": true, "ubyte": uint8(255), "ushort": uint16(65535), "uint": uint32(1<<32 - 1), "ulong": uint64(1<<64 - 1),
		"byte": int8(-128), "short": int16(-32768), "int": int32(-1 << 31), "long": int64(-5), "float": float32(1.5), "double": -2.25e300,
		"timestamp": time.UnixMilli(1700000000123).UTC(), "uuid": goamqp.UUID{1, 2, 3}, "binary": pattern(300), "string": "Grüße", "symbol": goamqp.Symbol("a-symbol"),
		"list": []any{int64(1), "two", []any{}}, "map": map[string]any{"a": map[string]any{"b": []any{int64(1)}}},
		"array-int": []int32{1, -2, 300}, "array-string": []string{"", "b"},
	} {
		kinds[name] = func() *goamqp.Message { return &goamqp.Message{Value: v} }
	}
	return kinds
}()

// TestBodies: messages of every kind that a library can write arrive as they were sent. The same library finds them
// equal, and a receiver of bytes finds the same bytes, section for section: directly and kept, at other nodes.
func TestBodies(t *testing.T) {
	a, b, c := cluster(t)
	each(t, func(t *testing.T, l library) {
		container, address := unique("bodies"), unique("bodies.topic")
		p := l.start(t, container)
		p.connect("pub", a)
		p.sender("pub", "to", address)
		p.connect("1", b)
		p.receiver("1", "kept", address, "durable=1")
		p.connect("2", c)
		p.receiver("2", "passing", address)
		kept := receiveRaw(t, c, container, "kept raw", amqp.Source{Address: address, Durable: amqp.DurabilityUnsettledState, ExpiryPolicy: amqp.ExpireNever})
		passing := receiveRaw(t, b, container, "passing raw", amqp.Source{Address: address})
		p.probe("to", p, "passing")
		until(t, b, container, "kept", "the probes confirmed", func(s api.Subscription) bool { return s.Messages == 0 && s.Confirmed > 0 })

		p.do("kinds")
		kinds := p.await("kinds", func(e event) bool { return e.Event == "kinds" }).Kinds
		if len(kinds) < 20 {
			t.Fatalf("only kinds %v", kinds)
		}
		for _, kind := range kinds {
			sent := p.send("to", kind, "kind="+kind)
			if o := p.outcome("to", kind); o.State != "accepted" {
				t.Errorf("%s: %s", kind, o)
			}
			for _, link := range []string{"kept", "passing"} {
				if m := p.messages(link, 1)[0]; m.ID != kind || m.Kind != kind {
					t.Errorf("%s link: got %s, a %q, want %s", link, m.ID, m.Kind, kind)
				}
			}
			payload, err := hex.DecodeString(sent.Hex)
			if err != nil || len(payload) != sent.Size {
				t.Fatalf("%s: the bytes that were sent: %v", kind, err)
			}
			if got := passing.after(t, kind); !bytes.Equal(got.Payload(), payload) {
				t.Errorf("%s, passing:\n%x was sent\n%x was received", kind, payload, got.Payload())
			}
			compareKept(t, kind, payload, kept.after(t, kind))
		}
		p.close("kept")
		p.disconnect("1")
		p.disconnect("2")
		p.disconnect("pub")
		p.finish()
	})
}

// after waits for the message of an id, past the probes.
func (r *raw) after(t *testing.T, id string) *amqp.Sections {
	t.Helper()
	for {
		s := r.next(t)
		p, err := s.Properties()
		if err != nil {
			t.Fatalf("properties of what should be %s: %v", id, err)
		}
		if got := fmt.Sprint(p.MessageID); !strings.HasPrefix(got, probeID) {
			if got != id {
				t.Fatalf("the raw receiver got %s, want %s", got, id)
			}
			return s
		}
	}
}

// compareKept: a message that was kept has a header that speaks of this delivery; all else is as it was sent.
func compareKept(t *testing.T, kind string, payload []byte, got *amqp.Sections) {
	t.Helper()
	var sent amqp.Sections
	if err := sent.Scan(payload); err != nil {
		t.Fatalf("%s: what was sent is no message: %v", kind, err)
	}
	for x := amqp.SectionDeliveryAnnotations; x <= amqp.SectionFooter; x++ {
		if !bytes.Equal(got.Bytes(x), sent.Bytes(x)) {
			t.Errorf("%s, kept: %v:\n%x was sent\n%x was received", kind, x, sent.Bytes(x), got.Bytes(x))
		}
	}
	before, _ := sent.Header()
	after, err := got.Header()
	if err != nil {
		t.Errorf("%s, kept: header: %v", kind, err)
	}
	before.FirstAcquirer = true
	if after != before {
		t.Errorf("%s, kept: the header is %+v, want %+v", kind, after, before)
	}
}
