package amqp

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestNextFrame(t *testing.T) {
	flow := &Flow{IncomingWindow: 1}
	b := AppendFrame(nil, 0x102, flow)
	b = AppendHeartbeat(b)
	b = append(b, 0, 0, 0, 14, 3, 7, 0, 0, 'e', 'x', 't', '.', 'b', 'o') // an extended header and a type that does not exist
	b = append(b, 0, 0, 0)                                               // the beginning of another

	f, rest, ok, err := NextFrame(b, 512)
	if err != nil || !ok || f.Type != FrameAMQP || f.Channel != 0x102 || !bytes.Equal(f.Body, flow.Append(nil)) {
		t.Fatalf("first: %+v, %v, %v", f, ok, err)
	}
	f, rest, ok, err = NextFrame(rest, 512)
	if err != nil || !ok || f.Type != FrameAMQP || f.Channel != 0 || len(f.Body) != 0 {
		t.Fatalf("heartbeat: %+v, %v, %v", f, ok, err)
	}
	f, rest, ok, err = NextFrame(rest, 512)
	if err != nil || !ok || f.Type != 7 || string(f.Body) != "bo" {
		t.Fatalf("extended: %+v, %v, %v", f, ok, err)
	}
	if _, left, ok, err := NextFrame(rest, 512); ok || err != nil || len(left) != 3 {
		t.Fatalf("beginning: %v, %v", ok, err)
	}
}

// A frame in parts is never an error and never a frame before it is whole.
func TestFrameInParts(t *testing.T) {
	whole := AppendFrame(nil, 1, &Close{Error: &Error{Condition: ErrCondStolen}})
	for n := range whole {
		_, rest, ok, err := NextFrame(whole[:n], 512)
		if ok || err != nil || len(rest) != n {
			t.Errorf("%d bytes: %v, %v", n, ok, err)
		}
		size, err := FrameSize(whole[:n], 512)
		if err != nil || (n >= 4) != (size == len(whole)) {
			t.Errorf("%d bytes: size %d, %v", n, size, err)
		}
	}
}

func TestMalformedFrames(t *testing.T) {
	for _, c := range []struct{ name, bytes, reason string }{
		{"size below the header", "00000007", "less than its header"},
		{"size zero", "00000000 02", "less than its header"},
		{"size above the maximum", "00000201", "above the maximum of 512"},
		{"a protocol header", "414d5150 00 01 00 00", "above the maximum"},
		{"offset into the header", "00000008 01 00 0000", "points into the frame header"},
		{"offset behind the frame", "00000008 03 00 0000", "points behind a frame of 8 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, ok, err := NextFrame(unhex(t, c.bytes), 512)
			var de *DecodeError
			if ok || !errors.As(err, &de) || de.Condition != ErrCondFramingError || !strings.Contains(de.Reason, c.reason) {
				t.Errorf("%v, %v", ok, err)
			}
		})
	}
	if size, err := FrameSize(unhex(t, "00000200 02"), 512); size != 512 || err != nil {
		t.Errorf("the maximum: %d, %v", size, err)
	}
}

// The payload may be written behind the performative, in a slice of its own.
func TestTransferFrame(t *testing.T) {
	transfer := &Transfer{Handle: 1, DeliveryID: Some(uint32(2)), DeliveryTag: []byte("t"), MessageFormat: Some(uint32(0))}
	front := AppendTransferFrame([]byte("before"), 3, transfer, len("payload"))
	f, rest, ok, err := NextFrame(append(front[len("before"):], "payload"...), 512)
	if err != nil || !ok || len(rest) != 0 || f.Channel != 3 {
		t.Fatalf("%+v, %v, %v", f, ok, err)
	}
	var got Transfer
	payload, err := got.Decode(f.Body)
	if err != nil || string(payload) != "payload" || !reflect.DeepEqual(&got, transfer) {
		t.Errorf("%+v, %q, %v", got, payload, err)
	}
}

// A sender encodes with More set, sees how much payload fits, and encodes again without if all does.
func TestTransferIsNeverLongerWithoutMore(t *testing.T) {
	for _, c := range performatives {
		transfer, ok := c.p.(*Transfer)
		if !ok {
			continue
		}
		more, last := *transfer, *transfer
		more.More, last.More = true, false
		if n, m := len(last.Append(nil)), len(more.Append(nil)); n > m {
			t.Errorf("%s: %d bytes without more, %d with", c.name, n, m)
		}
	}
}

func TestSASLFrames(t *testing.T) {
	for _, x := range []SASLBody{
		&SASLMechanisms{Mechanisms: []Symbol{"ANONYMOUS"}},
		&SASLMechanisms{Mechanisms: []Symbol{"EXTERNAL", "PLAIN"}},
		&SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00user\x00password"), Hostname: "h"},
		&SASLInit{Mechanism: "ANONYMOUS"},
		&SASLInit{Mechanism: "EXTERNAL", InitialResponse: []byte{}},
		&SASLChallenge{Challenge: []byte("c")},
		&SASLResponse{Response: []byte{}},
		&SASLOutcome{Code: SASLOK},
		&SASLOutcome{Code: SASLSysTemp, AdditionalData: []byte("d")},
	} {
		f, rest, ok, err := NextFrame(AppendSASLFrame(nil, x), MinMaxFrameSize)
		if err != nil || !ok || len(rest) != 0 || f.Type != FrameSASL {
			t.Fatalf("%T: %+v, %v, %v", x, f, ok, err)
		}
		got, err := DecodeSASL(f.Body)
		if err != nil || got.Descriptor() != x.Descriptor() || !reflect.DeepEqual(got, x) {
			t.Errorf("got %+v, %v; want %+v", got, err, x)
		}
	}
	for in, reason := range map[string]string{
		"":                             "truncated", // 5.3.1: an empty frame is an irrecoverable error
		"00 53 10 45":                  "unknown descriptor",
		"00 53 44 c0 03 01 50 00 00":   "bytes behind the body",
		"00 53 44 45":                  "mandatory field is missing",
		"00 53 41 c0 05 01 a1 02 4142": "expected symbol, found string",
	} {
		if x, err := DecodeSASL(unhex(t, in)); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: %+v, %v; want %s", in, x, err, reason)
		}
	}
}

func TestProtocolHeaders(t *testing.T) {
	for h, want := range map[ProtocolHeader]string{
		HeaderAMQP: "AMQP\x00\x01\x00\x00", HeaderTLS: "AMQP\x02\x01\x00\x00", HeaderSASL: "AMQP\x03\x01\x00\x00",
		{ID: 0, Major: 0, Minor: 9, Revision: 1}: "AMQP\x00\x00\x09\x01",
	} {
		if got := string(h.Append(nil)); got != want {
			t.Errorf("%v: %q", h, got)
		}
		if got, err := ParseProtocolHeader([]byte(want + "more")); err != nil || got != h {
			t.Errorf("%q: %v, %v", want, got, err)
		}
	}
	for _, in := range []string{"", "AMQP", "AMQP\x00\x01\x00", "HTTP/1.1", "amqp\x00\x01\x00\x00"} {
		var de *DecodeError
		if h, err := ParseProtocolHeader([]byte(in)); !errors.As(err, &de) || de.Condition != ErrCondFramingError {
			t.Errorf("%q: %v, %v", in, h, err)
		}
	}
	if s := (ProtocolHeader{Minor: 9, Revision: 1}).String(); s != "AMQP protocol 0, version 0.9.1" {
		t.Error(s)
	}
}
