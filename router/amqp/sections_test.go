package amqp

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// Encoded sections to put messages together from.
var (
	secHeader     = (&Header{Durable: true, Priority: 7, TTL: Some(uint32(1000)), FirstAcquirer: true, DeliveryCount: 2}).Append(nil)
	secDelivery   = appendMapSection(nil, CodeDeliveryAnnotations, Map{{Symbol("x-opt-d"), uint64(1)}})
	secMessage    = appendMapSection(nil, CodeMessageAnnotations, Map{{Symbol("x-opt-m"), "v"}, {uint64(5), true}, {Symbol("x-opt-n"), []any{"l"}}})
	secProperties = fullProperties.Append(nil)
	secApp        = appendMapSection(nil, CodeApplicationProperties, Map{{"colour", "red"}, {"size", int64(-5)}, {"n", nil}})
	secData       = AppendBinary(appendDescriptor(nil, CodeData), []byte("data"))
	secSequence   = AppendValue(appendDescriptor(nil, CodeSequence), []any{"a", uint8(1)})
	secValue      = AppendValue(appendDescriptor(nil, CodeValue), Map{{"k", "v"}})
	secFooter     = appendMapSection(nil, CodeFooter, Map{{Symbol("x-opt-f"), []byte("sum")}})
)

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestScan(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload []byte
		has     map[Section][]byte
		body    BodyKind
		tail    []byte
	}{
		{"nothing", nil, nil, BodyNone, nil},
		{"data", secData, map[Section][]byte{SectionBody: secData}, BodyData, secData},
		{"value", secValue, map[Section][]byte{SectionBody: secValue}, BodyValue, secValue},
		{"sequence", secSequence, map[Section][]byte{SectionBody: secSequence}, BodySequence, secSequence},
		{"properties only", secProperties, map[Section][]byte{SectionProperties: secProperties}, BodyNone, secProperties},
		{"header only", secHeader, map[Section][]byte{SectionHeader: secHeader}, BodyNone, nil},
		{
			"all", join(secHeader, secDelivery, secMessage, secProperties, secApp, secData, secData, secFooter),
			map[Section][]byte{
				SectionHeader: secHeader, SectionDeliveryAnnotations: secDelivery, SectionMessageAnnotations: secMessage,
				SectionProperties: secProperties, SectionApplicationProperties: secApp, SectionBody: join(secData, secData), SectionFooter: secFooter,
			},
			BodyData, join(secProperties, secApp, secData, secData, secFooter),
		},
		{
			"some", join(secDelivery, secApp, secSequence, secSequence, secSequence),
			map[Section][]byte{SectionDeliveryAnnotations: secDelivery, SectionApplicationProperties: secApp, SectionBody: join(secSequence, secSequence, secSequence)},
			BodySequence, join(secApp, secSequence, secSequence, secSequence),
		},
		{
			"symbolic descriptor", join(symbolic("amqp:header:list", secHeader), symbolic("amqp:data:binary", secData)),
			map[Section][]byte{SectionHeader: symbolic("amqp:header:list", secHeader), SectionBody: symbolic("amqp:data:binary", secData)},
			BodyData, symbolic("amqp:data:binary", secData),
		},
		{
			"a value of any type", unhex(t, "00 53 77 00 a3 01 78 40"),
			map[Section][]byte{SectionBody: unhex(t, "00 53 77 00 a3 01 78 40")}, BodyValue, unhex(t, "00 53 77 00 a3 01 78 40"),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Sections
			if err := s.Scan(c.payload); err != nil {
				t.Fatal(err)
			}
			for x := range numSections {
				if got := s.Bytes(x); !bytes.Equal(got, c.has[x]) || s.Has(x) != (c.has[x] != nil) {
					t.Errorf("%v: %x, want %x", x, got, c.has[x])
				}
				if p := s.Span(x); !bytes.Equal(c.payload[p.Start:p.End], c.has[x]) {
					t.Errorf("%v: %+v", x, p)
				}
			}
			if s.BodyKind() != c.body || !bytes.Equal(s.Tail(), c.tail) || !bytes.Equal(s.Payload(), c.payload) {
				t.Errorf("body %v, tail %x", s.BodyKind(), s.Tail())
			}
		})
	}
}

// symbolic replaces the numeric descriptor of a section.
func symbolic(name Symbol, section []byte) []byte {
	return append(AppendSymbol([]byte{0}, name), section[3:]...)
}

func TestScanRefusesGarbage(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload []byte
		reason  string
	}{
		{"text", []byte("hello"), "expected a described type"},
		{"not described", unhex(t, "45"), "expected a described type, found list"},
		{"another type", unhex(t, "00 53 24 45"), "no section"},
		{"a code above", unhex(t, "00 53 79 45"), "no section"},
		{"unknown symbol", unhex(t, "00 a3 01 78 45"), "no section"},
		{"header twice", join(secHeader, secHeader, secData), "twice or too late"},
		{"wrong order", join(secMessage, secDelivery, secData), "delivery-annotations: section comes twice"},
		{"properties behind body", join(secData, secProperties), "properties: section comes twice"},
		{"two values", join(secValue, secValue), "body: section comes twice"},
		{"data and sequence", join(secData, secSequence), "body: section comes twice"},
		{"sequence and value", join(secSequence, secValue), "body: section comes twice"},
		{"value and data", join(secValue, secData), "body: section comes twice"},
		{"data behind footer", join(secData, secFooter, secData), "body: section comes twice"},
		{"footer twice", join(secData, secFooter, secFooter), "footer: section comes twice"},
		{"header is a map", unhex(t, "00 53 70 c1 01 00"), "header: expected list, found map"},
		{"annotations are a list", unhex(t, "00 53 71 45"), "delivery-annotations: expected map, found list"},
		{"annotations are null", unhex(t, "00 53 72 40"), "message-annotations: expected map, found null"},
		{"properties are a map", unhex(t, "00 53 73 c1 01 00"), "properties: expected list"},
		{"application properties are binary", unhex(t, "00 53 74 a0 00"), "expected map, found binary"},
		{"data is a string", unhex(t, "00 53 75 a1 00"), "body: expected binary, found string"},
		{"sequence is a map", unhex(t, "00 53 76 c1 01 00"), "body: expected list"},
		{"footer is a list", unhex(t, "00 53 78 45"), "footer: expected map"},
		{"value of an unknown format", unhex(t, "00 53 77 57"), "unknown format code"},
		{"data beyond the payload", unhex(t, "00 53 75 a0 05 00"), "truncated"},
		{"huge data", unhex(t, "00 53 75 b0 ffffffff 00"), "truncated"},
		{"garbage behind", join(secData, []byte{1}), "expected a described type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Sections{spans: [numSections]Span{{1, 2}}}
			err := s.Scan(c.payload)
			if err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("got %v, want ...%s...", err, c.reason)
			}
			if s.Has(SectionHeader) || len(s.Payload()) > 0 {
				t.Error("sections are left over")
			}
		})
	}
}

// Fragment by fragment: no answer until the body's descriptor is there, and then the right one.
func TestScanHead(t *testing.T) {
	head := join(secHeader, secDelivery, secMessage, secProperties, secApp)
	for _, body := range [][]byte{secData, secSequence, secValue, secFooter} {
		payload := join(head, body)
		for n := range payload {
			var s Sections
			complete, err := s.ScanHead(payload[:n])
			if err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			if want := n >= len(head)+3; complete != want {
				t.Fatalf("%d bytes: %v, want %v", n, complete, want)
			}
			if !complete {
				continue
			}
			if !bytes.Equal(s.Bytes(SectionApplicationProperties), secApp) || s.Has(SectionBody) {
				t.Errorf("%d bytes: wrong sections", n)
			}
			if want := payload[len(head)-len(secApp)-len(secProperties) : n]; !bytes.Equal(s.Tail(), want) {
				t.Errorf("%d bytes: tail %x", n, s.Tail())
			}
			if h, err := s.Header(); err != nil || h.Priority != 7 {
				t.Errorf("%d bytes: header %+v, %v", n, h, err)
			}
		}
	}
	for name, bad := range map[string][]byte{
		"wrong order": join(secMessage, secHeader), "garbage": []byte("garbage"), "header is a map": unhex(t, "00 53 70 c1"),
		"properties twice": join(secProperties, secProperties[:3]),
	} {
		var s Sections
		if complete, err := s.ScanHead(bad); complete || err == nil {
			t.Errorf("%s: %v, %v", name, complete, err)
		}
	}
}

func scan(t testing.TB, payload []byte) *Sections {
	t.Helper()
	s := new(Sections)
	if err := s.Scan(payload); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLookups(t *testing.T) {
	s := scan(t, join(secHeader, secDelivery, secMessage, secProperties, secApp, secData, secFooter))
	h, err := s.Header()
	if want := (Header{true, 7, Some(uint32(1000)), true, 2}); err != nil || h != want {
		t.Errorf("header %+v, %v", h, err)
	}
	p, err := s.Properties()
	if err != nil || !reflect.DeepEqual(p, fullProperties) {
		t.Errorf("properties %+v, %v", p, err)
	}
	if to, err := s.To(); err != nil || string(to) != "to" {
		t.Errorf("to %q, %v", to, err)
	}
	for f, want := range map[PropertyField]any{
		PropertyMessageID: "id", PropertyUserID: []byte("u"), PropertyTo: "to", PropertySubject: "s", PropertyReplyTo: "r",
		PropertyCorrelationID: UUID{1}, PropertyContentType: Symbol("text/plain"), PropertyContentEncoding: Symbol("gzip"),
		PropertyAbsoluteExpiryTime: Timestamp(1), PropertyCreationTime: Timestamp(-2), PropertyGroupID: "g",
		PropertyGroupSequence: uint32(3), PropertyReplyToGroupID: "rg", numProperties: nil, -1: nil,
	} {
		raw, err := s.Property(f)
		if v, err2 := raw.Value(); err != nil || err2 != nil || !reflect.DeepEqual(v, want) {
			t.Errorf("%v: %v, %v, %v", f, v, err, err2)
		}
	}
	lookup := func(name string, want any) func(Raw, error) {
		return func(raw Raw, err error) {
			if v, err2 := raw.Value(); err != nil || err2 != nil || !reflect.DeepEqual(v, want) {
				t.Errorf("%s: %v, %v, %v", name, v, err, err2)
			}
		}
	}
	lookup("x-opt-d", uint64(1))(s.DeliveryAnnotation("x-opt-d"))
	lookup("x-opt-n", []any{"l"})(s.MessageAnnotation("x-opt-n"))
	lookup("x-opt", nil)(s.MessageAnnotation("x-opt"))
	lookup("size", int64(-5))(s.ApplicationProperty("size"))
	lookup("n", nil)(s.ApplicationProperty("n"))
	if raw, err := s.ApplicationProperty("n"); raw == nil || !raw.IsNull() || err != nil {
		t.Errorf("null is not there: %v, %v", raw, err)
	}
	if raw, err := s.ApplicationProperty("none"); raw != nil || !raw.IsNull() || err != nil {
		t.Errorf("what is not there: %v, %v", raw, err)
	}
	if d := s.AppendData([]byte("x")); string(d) != "xdata" {
		t.Errorf("data %q", d)
	}
	footer := s.Map(SectionFooter)
	if !footer.Next() || footer.Next() || footer.Err() != nil {
		t.Error("footer has not one entry")
	}
}

func TestLookupsWithoutSections(t *testing.T) {
	s := scan(t, secValue)
	if h, err := s.Header(); err != nil || h != DefaultHeader() {
		t.Errorf("header %+v, %v", h, err)
	}
	if p, err := s.Properties(); err != nil || !reflect.DeepEqual(p, Properties{}) {
		t.Errorf("properties %+v, %v", p, err)
	}
	if to, err := s.To(); err != nil || to != nil {
		t.Errorf("to %q, %v", to, err)
	}
	if raw, err := s.MessageAnnotation("a"); err != nil || raw != nil {
		t.Errorf("annotation %x, %v", raw, err)
	}
	for x := range numSections {
		m := s.Map(x)
		if m.Next() || m.Err() != nil {
			t.Errorf("%v has entries, or %v", x, m.Err())
		}
	}
	if d := s.AppendData(nil); d != nil {
		t.Errorf("data %q", d)
	}
	// Fewer fields than that of the address, and a null one.
	for _, in := range []string{"00 53 73 c0 04 02 40 a0 00", "00 53 73 c0 04 03 40 40 40"} {
		if to, err := scan(t, unhex(t, in)).To(); err != nil || to != nil {
			t.Errorf("to %q, %v", to, err)
		}
	}
}

func TestLookupErrors(t *testing.T) {
	s := scan(t, unhex(t, "00 53 70 c0 02 01 a1"+"00 53 72 c1 02 01 40"+"00 53 73 c0 05 03 40 40 52 07"+"00 53 74 c1 04 02 a1 01 57"))
	_, err := s.Header()
	wantFieldError(t, err, "header", "durable", ErrCondInvalidField, "expected boolean, found string")
	_, err = s.MessageAnnotation("a")
	wantFieldError(t, err, "message-annotations", "", ErrCondDecodeError, "odd number")
	_, err = s.To()
	wantFieldError(t, err, "properties", "to", ErrCondInvalidField, "expected string, found uint")
	_, err = s.ApplicationProperty("a")
	wantFieldError(t, err, "application-properties", "", ErrCondDecodeError, "truncated")
	s = scan(t, unhex(t, "00 53 73 c0 05 03 57 40 52 07"))
	_, err = s.To()
	wantFieldError(t, err, "properties", "message-id", ErrCondDecodeError, "0x57")
	s = scan(t, unhex(t, "00 53 72 c1 05 02 43 43 43 43"))
	_, err = s.MessageAnnotation("a")
	wantFieldError(t, err, "message-annotations", "", ErrCondDecodeError, "behind the last item")
}

func TestBody(t *testing.T) {
	for _, c := range []struct {
		payload []byte
		want    []any
	}{
		{secHeader, nil},
		{join(secData, AppendBinary(appendDescriptor(nil, CodeData), nil), secData), []any{[]byte("data"), []byte{}, []byte("data")}},
		{join(secHeader, secSequence, secSequence, secFooter), []any{[]any{"a", uint8(1)}, []any{"a", uint8(1)}}},
		{join(secValue, secFooter), []any{Map{{"k", "v"}}}},
	} {
		var got []any
		for raw := range scan(t, c.payload).Body {
			v, err := raw.Value()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, v)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("got %v, want %v", got, c.want)
		}
	}
	for range scan(t, join(secData, secData)).Body {
		break
	}
}

func TestRaw(t *testing.T) {
	raw := func(v any) Raw { return AppendValue(nil, v) }
	for _, v := range []any{uint8(7), uint16(7), uint32(7), uint64(7), int8(7), int16(7), int32(7), int64(7)} {
		if u, ok := raw(v).Uint64(); !ok || u != 7 {
			t.Errorf("%T: %d, %v", v, u, ok)
		}
		if i, ok := raw(v).Int64(); !ok || i != 7 {
			t.Errorf("%T: %d, %v", v, i, ok)
		}
	}
	for _, v := range []any{int8(-7), int16(-7), int32(-7), int64(-7), int32(-700), int64(-700)} {
		if u, ok := raw(v).Uint64(); ok {
			t.Errorf("%T: %d", v, u)
		}
		if i, ok := raw(v).Int64(); !ok || (i != -7 && i != -700) {
			t.Errorf("%T: %d, %v", v, i, ok)
		}
	}
	for _, v := range []any{uint32(0), uint64(0), uint64(1) << 40} {
		if _, ok := raw(v).Uint64(); !ok {
			t.Errorf("%T %v is no uint64", v, v)
		}
	}
	if u, ok := raw(uint64(1 << 63)).Uint64(); !ok || u != 1<<63 {
		t.Error(u, ok)
	}
	if i, ok := raw(uint64(1 << 63)).Int64(); ok {
		t.Error(i, ok)
	}
	for _, v := range []any{"text", Symbol("text")} {
		if b, ok := raw(v).Text(); !ok || string(b) != "text" {
			t.Errorf("%T: %q, %v", v, b, ok)
		}
	}
	if b, ok := raw([]byte("b")).Binary(); !ok || string(b) != "b" {
		t.Error(b, ok)
	}
	if v, ok := raw(true).Bool(); !ok || !v {
		t.Error(v, ok)
	}
	if v, ok := raw(false).Bool(); !ok || v {
		t.Error(v, ok)
	}
	if ms, ok := raw(Timestamp(-5)).Timestamp(); !ok || ms != -5 {
		t.Error(ms, ok)
	}
	// None of them takes another type, nothing, or the beginning of a value.
	others := []Raw{nil, raw(nil), raw(1.5), raw([]any{}), {0x60, 1}, {0x70}, {0x80}, {0x81, 1}, {0xa1, 2, 'a'}, {0xb3}, {0xa0, 1}, {0x56}, {0x83}, {0x61}, {0xa1, 1, 0xff}}
	for _, r := range others {
		if v, ok := r.Uint64(); ok {
			t.Errorf("%x: uint64 %v", r, v)
		}
		if v, ok := r.Int64(); ok {
			t.Errorf("%x: int64 %v", r, v)
		}
		if v, ok := r.Text(); ok {
			t.Errorf("%x: text %v", r, v)
		}
		if v, ok := r.Binary(); ok {
			t.Errorf("%x: binary %v", r, v)
		}
		if v, ok := r.Bool(); ok {
			t.Errorf("%x: bool %v", r, v)
		}
		if v, ok := r.Timestamp(); ok {
			t.Errorf("%x: timestamp %v", r, v)
		}
	}
}
