package amqp

import (
	"bytes"
	"testing"
)

// FuzzValue: what decodes can be written, and is the same when it is read again. Values are compared as bytes: NaN differs from itself.
func FuzzValue(f *testing.F) {
	for _, c := range encodings {
		f.Add(unhex(f, c.bytes))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		v, rest, err := DecodeValue(in)
		skipped := reader{b: in}
		skipped.skip(0)
		if err != nil {
			return
		}
		if skipped.err != nil || !bytes.Equal(skipped.b, rest) {
			t.Fatalf("decoding leaves %x, skipping %x, %v", rest, skipped.b, skipped.err)
		}
		once := AppendValue(nil, v)
		again, rest, err := DecodeValue(once)
		if err != nil || len(rest) > 0 {
			t.Fatalf("%#v is written as %x: %v, %d bytes left", v, once, err, len(rest))
		}
		if twice := AppendValue(nil, again); !bytes.Equal(once, twice) {
			t.Fatalf("%#v is written as %x, then as %x", v, once, twice)
		}
	})
}

func FuzzPerformative(f *testing.F) {
	for _, c := range performatives {
		f.Add(append(c.p.Append(nil), "payload"...))
	}
	for _, g := range goldenFrames(f) {
		if g.Type == FrameAMQP {
			f.Add(g.Body)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p, payload, err := DecodePerformative(in)
		if err != nil {
			return
		}
		if !bytes.HasSuffix(in, payload) {
			t.Fatalf("payload %x is no end of the input", payload)
		}
		once := p.Append(nil)
		again, rest, err := DecodePerformative(once)
		if err != nil || len(rest) > 0 {
			t.Fatalf("%+v is written as %x: %v, %d bytes left", p, once, err, len(rest))
		}
		if twice := again.Append(nil); !bytes.Equal(once, twice) {
			t.Fatalf("%+v is written as %x, then as %x", p, once, twice)
		}
	})
}

func FuzzState(f *testing.F) {
	for _, s := range []DeliveryState{
		nil, Accepted{}, Rejected{&Error{Condition: "a", Info: map[Symbol]any{"b": 1}}}, Released{}, Received{1, 2}, Declared{[]byte("t")},
		Modified{true, true, map[Symbol]any{"a": nil}}, TransactionalState{[]byte("t"), Modified{}}, Described{Symbol("x"), "y"},
	} {
		f.Add(AppendState(nil, s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s, _, err := DecodeState(in)
		if err != nil {
			return
		}
		once := AppendState(nil, s)
		again, rest, err := DecodeState(once)
		if err != nil || len(rest) > 0 || !bytes.Equal(once, AppendState(nil, again)) {
			t.Fatalf("%+v is written as %x, read as %+v, %v", s, once, again, err)
		}
	})
}

func FuzzSASL(f *testing.F) {
	for _, x := range []SASLBody{
		&SASLMechanisms{[]Symbol{"ANONYMOUS"}}, &SASLInit{"PLAIN", []byte("\x00a\x00b"), "h"}, &SASLChallenge{[]byte("c")},
		&SASLResponse{[]byte("r")}, &SASLOutcome{SASLAuth, []byte("d")},
	} {
		f.Add(x.Append(nil))
	}
	for _, g := range goldenFrames(f) {
		if g.Type == FrameSASL {
			f.Add(g.Body)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		x, err := DecodeSASL(in)
		if err != nil {
			return
		}
		once := x.Append(nil)
		again, err := DecodeSASL(once)
		if err != nil || !bytes.Equal(once, again.Append(nil)) {
			t.Fatalf("%+v is written as %x, read as %+v, %v", x, once, again, err)
		}
	})
}

// FuzzFrames: frames tile the stream, whatever is in it, and never go beyond what is there or what is allowed.
func FuzzFrames(f *testing.F) {
	f.Add(AppendFrame(AppendHeartbeat(AppendFrame(nil, 1, &Begin{})), 2, &End{}), uint16(512))
	f.Add(AppendSASLFrame(nil, &SASLOutcome{}), uint16(512))
	f.Add([]byte("AMQP\x00\x01\x00\x00"), uint16(65535))
	f.Add([]byte{0, 0, 0, 12, 3, 0, 0, 0, 1, 2, 3, 4}, uint16(12))
	f.Fuzz(func(t *testing.T, in []byte, max uint16) {
		_, _ = ParseProtocolHeader(in)
		for rest := in; ; {
			size, sizeErr := FrameSize(rest, uint32(max))
			frame, next, ok, err := NextFrame(rest, uint32(max))
			if (err == nil) != (sizeErr == nil) {
				t.Fatalf("NextFrame says %v, FrameSize %v", err, sizeErr)
			}
			if !ok {
				if len(next) != len(rest) || (err == nil && size != 0 && size <= len(rest)) {
					t.Fatalf("no frame, but %d of %d bytes are left, size %d", len(next), len(rest), size)
				}
				return
			}
			if size > int(max) || len(rest)-len(next) != size || len(frame.Body) > size-FrameHeaderSize {
				t.Fatalf("frame of %d bytes with a body of %d; maximum %d, consumed %d", size, len(frame.Body), max, len(rest)-len(next))
			}
			rest = next
		}
	})
}

func messageSeeds(f *testing.F) [][]byte {
	seeds := [][]byte{
		nil, secData, secValue, join(secHeader, secDelivery, secMessage, secProperties, secApp, secData, secData, secFooter),
		join(secMessage, secSequence, secSequence), join(symbolic("amqp:header:list", secHeader), secProperties, secValue, secFooter),
	}
	for _, g := range goldenFrames(f) {
		var x Transfer
		if payload, err := x.Decode(g.Body); err == nil {
			seeds = append(seeds, payload)
		}
	}
	return seeds
}

func FuzzMessage(f *testing.F) {
	for _, m := range messageSeeds(f) {
		f.Add(m, uint16(len(m)/2))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		var s, head Sections
		err := s.Scan(in)
		complete, headErr := head.ScanHead(in[:min(int(cut), len(in))])
		if headErr != nil && err == nil {
			t.Fatalf("the beginning of a good message: %v", headErr)
		}
		if err != nil {
			return
		}
		checkTiles(t, &s)
		for x := range SectionBody {
			if complete && head.Span(x) != s.Span(x) {
				t.Fatalf("%v is at %v in the beginning, at %v in the whole", x, head.Span(x), s.Span(x))
			}
		}
		lookEverywhere(t, &s)
		m, err := DecodeMessage(in)
		if err != nil {
			return
		}
		once := m.Append(nil)
		again, err := DecodeMessage(once)
		if err != nil || !bytes.Equal(once, again.Append(nil)) {
			t.Fatalf("%+v is written as %x, read as %+v, %v", m, once, again, err)
		}
	})
}

// checkTiles: the sections lie one behind the other and fill the payload.
func checkTiles(t *testing.T, s *Sections) {
	t.Helper()
	at := 0
	for x := range numSections {
		p := s.Span(x)
		if !s.Has(x) {
			if p != (Span{}) {
				t.Fatalf("%v is absent, but at %v", x, p)
			}
			continue
		}
		if p.Start != at || p.End <= p.Start {
			t.Fatalf("%v is at %v, expected at %d", x, p, at)
		}
		at = p.End
	}
	if at != len(s.Payload()) {
		t.Fatalf("sections end at %d of %d", at, len(s.Payload()))
	}
}

func lookEverywhere(t *testing.T, s *Sections) {
	t.Helper()
	_, _ = s.Header()
	_, _ = s.Properties()
	_, _ = s.To()
	for field := range numProperties {
		raw, _ := s.Property(field)
		lookAt(raw)
	}
	for x := range numSections {
		for m := s.Map(x); m.Next(); {
			lookAt(m.Key())
			lookAt(m.Value())
		}
	}
	for raw := range s.Body {
		lookAt(raw)
	}
	_ = s.AppendData(nil)
}

func lookAt(r Raw) {
	_, _ = r.Text()
	_, _ = r.Binary()
	_, _ = r.Bool()
	_, _ = r.Int64()
	_, _ = r.Uint64()
	_, _ = r.Timestamp()
	_, _ = r.Value()
	_ = r.IsNull()
}

// FuzzEdit: whatever the message and the changes, the bare message stays byte for byte what it was, and so do all entries which
// the changes do not name.
func FuzzEdit(f *testing.F) {
	for i, m := range messageSeeds(f) {
		f.Add(m, "x-opt-m", "x-opt-new", uint8(i), i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, in []byte, key1, key2 string, bits uint8, drop bool) {
		var s Sections
		if s.Scan(in) != nil {
			return
		}
		set1, set2 := Set(cleanSymbol(Symbol(key1)), key2), Set(cleanSymbol(Symbol(key2)), uint32(bits))
		changes := [][]Change{nil, {set1}, {set2, set1}, {Remove(set1.Key), set2}}
		e := Edit{DropDeliveryAnnotations: drop, DeliveryAnnotations: changes[bits&3], MessageAnnotations: changes[bits>>2&3]}
		if bits&16 != 0 {
			e.Header = &Header{Priority: bits, TTL: Some(uint32(bits))}
		}
		head, err := e.AppendHead([]byte("front"), &s)
		if err != nil {
			if string(head) != "front" {
				t.Fatalf("an error leaves %q", head)
			}
			return
		}
		out := append(head[len("front"):], s.Tail()...)
		var edited Sections
		if err := edited.Scan(out); err != nil {
			t.Fatalf("%x becomes %x: %v", in, out, err)
		}
		if !bytes.Equal(edited.Tail(), s.Tail()) {
			t.Fatalf("the bare message %x becomes %x", s.Tail(), edited.Tail())
		}
		if e.Header != nil {
			if h, err := edited.Header(); err != nil || h != *e.Header {
				t.Fatalf("header %+v becomes %+v, %v", *e.Header, h, err)
			}
		} else if !bytes.Equal(edited.Bytes(SectionHeader), s.Bytes(SectionHeader)) {
			t.Fatal("the header changes")
		}
		checkChanged(t, &s, &edited, SectionMessageAnnotations, e.MessageAnnotations, false)
		checkChanged(t, &s, &edited, SectionDeliveryAnnotations, e.DeliveryAnnotations, drop)
	})
}

func checkChanged(t *testing.T, before, after *Sections, x Section, changes []Change, drop bool) {
	t.Helper()
	named := func(key Raw) bool {
		_, ok := changeOf(changes, key)
		return ok
	}
	others := func(s *Sections) (all []byte) {
		for m := s.Map(x); m.Next(); {
			if !named(m.Key()) {
				all = append(append(all, m.Key()...), m.Value()...)
			}
		}
		return all
	}
	want := others(before)
	if drop {
		want = nil
	}
	if got := others(after); !bytes.Equal(got, want) {
		t.Fatalf("%v: other entries were %x and are %x", x, want, got)
	}
	for _, c := range changes {
		last, _ := lastChange(changes, string(c.Key))
		m := after.Map(x)
		if v, err := m.find(string(c.Key)); err != nil || !bytes.Equal(v, changes[last].Value) {
			t.Fatalf("%v: %q is %x, %v; want %x", x, c.Key, v, err, changes[last].Value)
		}
	}
}
