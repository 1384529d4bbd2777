package amqp

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// composites has the fields of every composite, in order; mandatory ones with a star. A full value is what all fields are set in.
var composites = []struct {
	typ    string
	fields string
	full   []byte
	decode func(b []byte) (any, error)
}{
	{"open", "*container-id hostname max-frame-size channel-max idle-time-out outgoing-locales incoming-locales offered-capabilities desired-capabilities properties",
		fullOf("open full"), decodePerformative},
	{"begin", "remote-channel *next-outgoing-id *incoming-window *outgoing-window handle-max offered-capabilities desired-capabilities properties",
		fullOf("begin full"), decodePerformative},
	{"attach", "*name *handle *role snd-settle-mode rcv-settle-mode source target unsettled incomplete-unsettled initial-delivery-count max-message-size offered-capabilities desired-capabilities properties",
		fullOf("attach full"), decodePerformative},
	{"flow", "next-incoming-id *incoming-window *next-outgoing-id *outgoing-window handle delivery-count link-credit available drain echo properties",
		fullOf("flow full"), decodePerformative},
	{"transfer", "*handle delivery-id delivery-tag message-format settled more rcv-settle-mode state resume aborted batchable",
		fullOf("transfer full"), decodePerformative},
	{"disposition", "*role *first last settled state batchable", fullOf("disposition accepted"), decodePerformative},
	{"detach", "*handle closed error", fullOf("detach full"), decodePerformative},
	{"end", "error", fullOf("end full"), decodePerformative},
	{"close", "error", fullOf("close full"), decodePerformative},
	{"source", "address durable expiry-policy timeout dynamic dynamic-node-properties distribution-mode filter default-outcome outcomes capabilities",
		fullAttach().Source.append(nil), inAttach(5)},
	{"target", "address durable expiry-policy timeout dynamic dynamic-node-properties capabilities",
		fullAttach().Target.append(nil), inAttach(6)},
	{"coordinator", "capabilities", (&Coordinator{Capabilities: []Symbol{"a"}}).append(nil), inAttach(6)},
	{"error", "*condition description info", (&Error{"a", "b", map[Symbol]any{"c": 1}}).append(nil), inClose},
	{"received", "*section-number *section-offset", AppendState(nil, Received{1, 2}), decodeState},
	{"rejected", "error", AppendState(nil, Rejected{&Error{Condition: "a"}}), decodeState},
	{"modified", "delivery-failed undeliverable-here message-annotations", AppendState(nil, Modified{true, true, map[Symbol]any{"a": 1}}), decodeState},
	{"declared", "*txn-id", AppendState(nil, Declared{[]byte("a")}), decodeState},
	{"transactional-state", "*txn-id outcome", AppendState(nil, TransactionalState{[]byte("a"), Accepted{}}), decodeState},
	{"sasl-mechanisms", "*sasl-server-mechanisms", (&SASLMechanisms{[]Symbol{"PLAIN", "ANONYMOUS"}}).Append(nil), decodeSASL},
	{"sasl-init", "*mechanism initial-response hostname", (&SASLInit{"PLAIN", []byte("a"), "h"}).Append(nil), decodeSASL},
	{"sasl-challenge", "*challenge", (&SASLChallenge{[]byte("a")}).Append(nil), decodeSASL},
	{"sasl-response", "*response", (&SASLResponse{[]byte("a")}).Append(nil), decodeSASL},
	{"sasl-outcome", "*code additional-data", (&SASLOutcome{SASLAuth, []byte("a")}).Append(nil), decodeSASL},
	{"header", "durable priority ttl first-acquirer delivery-count", (&Header{true, 5, Some(uint32(1)), true, 2}).Append(nil), decodeHeader},
	{"properties", "message-id user-id to subject reply-to correlation-id content-type content-encoding absolute-expiry-time creation-time group-id group-sequence reply-to-group-id",
		fullProperties.Append(nil), decodeProperties},
}

var fullProperties = Properties{
	MessageID: "id", UserID: []byte("u"), To: "to", Subject: "s", ReplyTo: "r", CorrelationID: UUID{1}, ContentType: "text/plain",
	ContentEncoding: "gzip", AbsoluteExpiryTime: Some(int64(1)), CreationTime: Some(int64(-2)), GroupID: "g", GroupSequence: Some(uint32(3)),
	ReplyToGroupID: "rg",
}

func fullOf(name string) []byte {
	for _, c := range performatives {
		if c.name == name {
			return c.p.Append(nil)
		}
	}
	panic(name)
}

func fullAttach() *Attach {
	a := new(Attach)
	if _, err := a.Decode(fullOf("attach full")); err != nil {
		panic(err)
	}
	return a
}

func decodePerformative(b []byte) (any, error) {
	p, rest, err := DecodePerformative(b)
	if err == nil && len(rest) > 0 {
		err = errors.New("bytes left")
	}
	return p, err
}

func decodeState(b []byte) (any, error) {
	s, _, err := DecodeState(b)
	return s, err
}

func decodeSASL(b []byte) (any, error) { return DecodeSASL(b) }

func decodeHeader(b []byte) (any, error) {
	var s Sections
	if err := s.Scan(b); err != nil {
		return nil, err
	}
	return s.Header()
}

func decodeProperties(b []byte) (any, error) {
	var s Sections
	if err := s.Scan(b); err != nil {
		return nil, err
	}
	return s.Properties()
}

// inAttach decodes the composite as the field of an attach with the given index.
func inAttach(index int) func(b []byte) (any, error) {
	return func(b []byte) (any, error) {
		fields := [][]byte{{0xa1, 1, 'l'}, {0x43}, {0x42}, {0x40}, {0x40}, {0x40}, {0x40}}
		fields[index] = b
		a := new(Attach)
		_, err := a.Decode(compositeOf(CodeAttach, fields))
		return a, err
	}
}

func inClose(b []byte) (any, error) {
	c := new(Close)
	_, err := c.Decode(compositeOf(CodeClose, [][]byte{b}))
	return c.Error, err
}

// compositeOf builds a composite of encoded fields, in the long form.
func compositeOf(code uint64, fields [][]byte) []byte {
	items := bytes.Join(fields, nil)
	size, n := len(items)+4, len(fields)
	b := []byte{0, 0x53, byte(code), 0xd0, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size), 0, 0, byte(n >> 8), byte(n)}
	return append(b, items...)
}

// split takes a composite apart.
func split(t *testing.T, b []byte) (code uint64, fields [][]byte) {
	t.Helper()
	r := reader{b: b}
	code = r.descriptor()
	items, n := r.list()
	r.b = items
	for range n {
		fields = append(fields, r.raw())
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	return code, fields
}

func TestEveryFieldOfEveryComposite(t *testing.T) {
	for _, c := range composites {
		t.Run(c.typ, func(t *testing.T) {
			names := strings.Fields(c.fields)
			code, full := split(t, c.full)
			want, err := c.decode(c.full)
			if err != nil {
				t.Fatal(err)
			}
			if len(full) != len(names) {
				t.Fatalf("%d fields are written, %d are known", len(full), len(names))
			}
			// The long form and fields that we don't know change nothing.
			more := append(append([][]byte{}, full...), unhex(t, "a1 03 6e6577"), unhex(t, "00 a3 01 78 c0 02 01 43"))
			for _, fields := range [][][]byte{full, more} {
				if got, err := c.decode(compositeOf(code, fields)); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("with %d fields: got %+v, %v; want %+v", len(fields), got, err, want)
				}
			}
			for i, name := range names {
				mandatory := strings.HasPrefix(name, "*")
				name = strings.TrimPrefix(name, "*")
				with := func(v ...byte) [][]byte {
					fields := append([][]byte{}, full...)
					fields[i] = v
					return fields
				}
				_, errNull := c.decode(compositeOf(code, with(0x40)))
				_, errFewer := c.decode(compositeOf(code, full[:i]))
				if mandatory {
					wantFieldError(t, errNull, c.typ, name, ErrCondInvalidField, "missing")
					wantFieldError(t, errFewer, c.typ, name, ErrCondInvalidField, "missing")
				} else if errNull != nil {
					t.Errorf("%s null: %v", name, errNull)
				}
				// No field is a decimal32.
				_, err := c.decode(compositeOf(code, with(0x74, 1, 2, 3, 4)))
				if name == "source" || name == "target" || name == "state" || name == "error" || name == "default-outcome" || name == "outcome" {
					wantFieldError(t, err, c.typ, name, ErrCondInvalidField, "a described type")
				} else {
					wantFieldError(t, err, c.typ, name, ErrCondInvalidField, "decimal32")
				}
				_, err = c.decode(compositeOf(code, with(0x57)))
				wantFieldError(t, err, c.typ, name, "", "0x57")
			}
		})
	}
}

func wantFieldError(t *testing.T, err error, typ, field string, condition Symbol, reason string) {
	t.Helper()
	var de *DecodeError
	if !errors.As(err, &de) {
		t.Errorf("%s.%s: got %v", typ, field, err)
		return
	}
	if de.Type != typ || de.Field != field || (condition != "" && de.Condition != condition) || !strings.Contains(de.Reason, reason) {
		t.Errorf("%s.%s: got %v, want %s ...%s...", typ, field, de, condition, reason)
	}
}

func TestSymbolicDescriptors(t *testing.T) {
	names := map[string]string{
		"header": "amqp:header:list", "properties": "amqp:properties:list", "error": "amqp:error:list",
	}
	for _, c := range composites {
		name := names[c.typ]
		if name == "" {
			name = "amqp:" + c.typ + ":list"
		}
		want, err := c.decode(c.full)
		if err != nil {
			t.Fatal(err)
		}
		for _, descriptor := range [][]byte{
			AppendSymbol(nil, Symbol(name)),
			append([]byte{0xb3, 0, 0, 0, byte(len(name))}, name...),
			{0x80, 0, 0, 0, 0, 0, 0, 0, c.full[2]},
		} {
			b := append(append([]byte{0}, descriptor...), c.full[3:]...)
			if got, err := c.decode(b); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s with descriptor %x: %+v, %v", c.typ, descriptor, got, err)
			}
		}
	}
}

func TestMultipleSymbols(t *testing.T) {
	for _, c := range []struct {
		name, field string
		want        []Symbol
		err         string
	}{
		{"null", "40", nil, ""},
		{"one", "a3 01 61", []Symbol{"a"}, ""},
		{"one long", "b3 00000001 61", []Symbol{"a"}, ""},
		{"array", "e0 06 02 a3 01 61 01 62", []Symbol{"a", "b"}, ""},
		{"array32", "f0 0000000f 00000002 b3 00000001 61 00000001 62", []Symbol{"a", "b"}, ""},
		{"empty array", "e0 02 00 a3", nil, ""},
		{"array of strings", "e0 04 01 a1 01 61", nil, "array of symbols"},
		{"string", "a1 01 61", nil, "expected symbol, found string"},
		{"list", "c0 04 01 a3 01 61", []Symbol{"a"}, ""},
		{"list32", "d0 0000000a 00000002 a3 01 61 a3 01 62", []Symbol{"a", "b"}, ""},
		{"empty list", "45", nil, ""},
		{"list of strings", "c0 04 01 a1 01 61", nil, "array of symbols"},
		{"map", "c1 01 00", nil, "expected symbol, found map"},
	} {
		t.Run(c.name, func(t *testing.T) {
			coordinator := compositeOf(CodeCoordinator, [][]byte{unhex(t, c.field)})
			a, err := inAttach(6)(coordinator)
			if c.err != "" {
				wantFieldError(t, err, "coordinator", "capabilities", ErrCondInvalidField, c.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := a.(*Attach).Coordinator.Capabilities; !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestFieldsOutOfRange(t *testing.T) {
	tag33 := append([]byte{0xa0, 33}, make([]byte, 33)...)
	for _, c := range []struct {
		typ, field string
		index      int
		value      []byte
		reason     string
	}{
		{"attach", "snd-settle-mode", 3, []byte{0x50, 3}, "no such mode"},
		{"attach", "rcv-settle-mode", 4, []byte{0x50, 2}, "no such mode"},
		{"attach", "unsettled", 7, compound(0xc1, 2, append(tag33, 0x40)), "32 bytes"},
		{"attach", "unsettled", 7, unhex(t, "c1 03 02 40 40"), "expected binary"},
		{"transfer", "rcv-settle-mode", 6, []byte{0x50, 2}, "no such mode"},
		{"transfer", "delivery-tag", 2, tag33, "32 bytes"},
		{"declared", "txn-id", 0, tag33, "32 bytes"},
		{"source", "default-outcome", 8, AppendState(nil, Received{}), "not an outcome"},
		{"source", "default-outcome", 8, AppendState(nil, TransactionalState{TxnID: []byte("a")}), "not an outcome"},
		{"transactional-state", "outcome", 1, AppendState(nil, TransactionalState{TxnID: []byte("a")}), "not an outcome"},
		{"sasl-outcome", "code", 0, []byte{0x50, 5}, "no such code"},
		{"sasl-mechanisms", "sasl-server-mechanisms", 0, unhex(t, "e0 02 00 a3"), "missing or empty"},
		{"properties", "message-id", 0, []byte{0x52, 1}, "expected ulong, uuid, binary or string, found uint"},
		{"properties", "correlation-id", 5, []byte{0xa3, 1, 'a'}, "expected ulong, uuid, binary or string, found symbol"},
		{"error", "info", 2, unhex(t, "c1 03 02 43 40"), "expected symbol, found uint"},
	} {
		for _, k := range composites {
			if k.typ == c.typ {
				code, fields := split(t, k.full)
				fields[c.index] = c.value
				_, err := k.decode(compositeOf(code, fields))
				wantFieldError(t, err, c.typ, c.field, ErrCondInvalidField, c.reason)
			}
		}
	}
}

// compound builds a short list, map or array of encoded items.
func compound(code byte, count int, items []byte) []byte {
	return append([]byte{code, byte(len(items) + 1), byte(count)}, items...)
}

func TestKeysTwice(t *testing.T) {
	for _, c := range []struct {
		typ, field string
		index      int
		value      string
	}{
		{"open", "properties", 9, "c1 09 04 a3 01 61 40 a3 01 61 40"},
		{"open", "properties", 9, "c1 09 04 a3 01 61 40 a1 01 61 40"},
		{"attach", "unsettled", 7, "c1 09 04 a0 01 61 40 a0 01 61 40"},
		{"source", "filter", 7, "c1 09 04 a3 01 61 40 a3 01 61 40"},
	} {
		for _, k := range composites {
			if k.typ == c.typ {
				code, fields := split(t, k.full)
				fields[c.index] = unhex(t, c.value)
				_, err := k.decode(compositeOf(code, fields))
				wantFieldError(t, err, c.typ, c.field, ErrCondDecodeError, "key twice")
			}
		}
	}
}

// 3.5.8 with 1.3: null filters are as good as none; names don't matter.
func TestFilters(t *testing.T) {
	set := "c1 1a 06" + "a3 01 61 40" + "a3 01 62 00 80 0000468c00000004 a1 01 78" + "a3 01 63 53 07"
	a, err := inAttach(5)(compositeOf(CodeSource, [][]byte{{0x40}, {0x40}, {0x40}, {0x40}, {0x40}, {0x40}, {0x40}, unhex(t, set)}))
	if err != nil {
		t.Fatal(err)
	}
	filters := a.(*Attach).Source.Filter
	want := FilterSet{{"b", Described{FilterSelectorCode, "x"}}, {"c", Described{nil, uint64(7)}}}
	if !reflect.DeepEqual(filters, want) {
		t.Errorf("got %+v, want %+v", filters, want)
	}
	if f, ok := filters.Find(FilterSelectorCode, FilterSelectorName); !ok || f.Name != "b" {
		t.Errorf("selector: %+v, %v", f, ok)
	}
	if f, ok := filters.Find(FilterNoLocalCode, FilterNoLocalName); ok {
		t.Errorf("no-local: %+v", f)
	}
	if f, ok := filters.Find(0, ""); ok {
		t.Errorf("an undescribed filter is found: %+v", f)
	}
	byName := FilterSet{{"x", Described{FilterNoLocalName, nil}}}
	if f, ok := byName.Find(FilterNoLocalCode, FilterNoLocalName); !ok || f.Name != "x" {
		t.Errorf("by name: %+v, %v", f, ok)
	}
}

// Accepted with a list8 or list32, as some write it, and states that nobody allocates for.
func TestStateEncodings(t *testing.T) {
	for in, want := range map[string]DeliveryState{
		"00 53 24 45":                   Accepted{},
		"00 53 24 c0 01 00":             Accepted{},
		"00 53 24 d0 00000004 00000000": Accepted{},
		"00 a3 12 616d71703a72656c65617365643a6c697374 45": Released{},
		"00 53 25 45":                      Rejected{},
		"00 53 27 c0 02 01 41":             Modified{DeliveryFailed: true},
		"00 53 27 c0 03 02 40 41":          Modified{UndeliverableHere: true},
		"00 53 27 c0 03 02 41 41":          Modified{DeliveryFailed: true, UndeliverableHere: true},
		"00 53 27 c0 06 03 42 42 c1 01 00": Modified{},
		"40":                               nil,
	} {
		s, rest, err := DecodeState(unhex(t, in))
		if err != nil || len(rest) > 0 || !reflect.DeepEqual(s, want) {
			t.Errorf("%s: %#v, %v", in, s, err)
		}
	}
	if AppendState(nil, nil)[0] != 0x40 {
		t.Error("no state is not null")
	}
}

func TestIsOutcome(t *testing.T) {
	for _, s := range []DeliveryState{Accepted{}, Rejected{}, Released{}, Modified{}, Declared{}} {
		if !IsOutcome(s) {
			t.Errorf("%T is none", s)
		}
	}
	for _, s := range []DeliveryState{nil, Received{}, TransactionalState{}, Described{uint64(1), nil}} {
		if IsOutcome(s) {
			t.Errorf("%T is one", s)
		}
	}
}

func TestUnknownPerformative(t *testing.T) {
	for _, in := range []string{"00 53 19 45", "00 a3 01 78 45", "00 53 28 45", "00 40 45"} {
		_, _, err := DecodePerformative(unhex(t, in))
		wantFieldError(t, err, "performative", "", ErrCondDecodeError, "unknown descriptor")
	}
	_, _, err := DecodePerformative(unhex(t, "45"))
	wantFieldError(t, err, "performative", "", ErrCondDecodeError, "expected a described type, found list")
	if _, err := new(Begin).Decode(fullOf("open")); err == nil {
		t.Error("begin decodes an open")
	}
	if _, err := new(Close).Decode(unhex(t, "00 53 18 c1 01 00")); err == nil {
		t.Error("close decodes a map")
	}
	if _, err := new(Close).Decode(unhex(t, "00 53 18 c0 03 01 40 40")); err == nil || !strings.Contains(err.Error(), "behind the last field") {
		t.Errorf("close with more bytes than fields: %v", err)
	}
}

func TestDecodeErrorText(t *testing.T) {
	e := &DecodeError{Condition: ErrCondInvalidField, Type: "begin", Field: "handle-max", Reason: "mandatory field is missing"}
	if s := e.Error(); s != "amqp: begin.handle-max: mandatory field is missing (amqp:invalid-field)" {
		t.Error(s)
	}
	a := e.AMQP()
	if a.Condition != ErrCondInvalidField || a.Description != "begin.handle-max: mandatory field is missing" {
		t.Errorf("%+v", a)
	}
	if s := a.Error(); s != "amqp:invalid-field: begin.handle-max: mandatory field is missing" {
		t.Error(s)
	}
	if s := (&Error{Condition: ErrCondStolen}).Error(); s != "amqp:link:stolen" {
		t.Error(s)
	}
}
