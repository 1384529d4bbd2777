package endpoint

import (
	"reflect"
	"testing"

	"github.com/posthouse/posthouse/router/amqp"
)

// conversation is all that a busy peer says, with small payloads and one in three frames: first what needs no credit, then the rest.
func conversation() (first, second []byte) {
	b := amqp.HeaderSASL.Append(nil)
	b = append(b, saslFrame(&amqp.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00alice\x00secret")})...)
	b = amqp.HeaderAMQP.Append(b)
	begin, last := transfer(1), &amqp.Transfer{}
	begin.More = true
	for _, f := range []frame{
		{0, &amqp.Open{ContainerID: "them", Properties: map[amqp.Symbol]any{"product": "p"}}, nil},
		{0, nil, nil},
		{0, &amqp.Begin{IncomingWindow: 100, OutgoingWindow: 100, HandleMax: 100}, nil},
		{0, attach(amqp.RoleSender, 0, "in"), nil},
		{0, attach(amqp.RoleReceiver, 1, "out"), nil},
		{0, credits(1, 0, 7), nil},
		{1, nil, nil},
		{0, transfer(0), []byte("payload")},
		{0, begin, []byte("in ")},
		{0, &amqp.Transfer{More: true}, []byte("three ")},
		{0, last, []byte("parts")},
		{0, &amqp.Disposition{Role: amqp.RoleSender, First: 0, Last: 0, Settled: true}, nil},
		{0, &amqp.Detach{Handle: 0, Closed: true}, nil},
		{0, &amqp.End{}, nil},
		{0, &amqp.Close{}, nil},
	} {
		switch {
		case f.body != nil:
			b = append(b, frameBytes(f.channel, f.body, f.payload)...)
		case f.channel == 0:
			b = amqp.AppendHeartbeat(b)
		default:
			first, b = b, nil
		}
	}
	return first, b
}

func TestFramesSplitAnywhere(t *testing.T) {
	first, second := conversation()
	play := func(t *testing.T, pieces ...[]byte) (calls []string) {
		h := &recorder{credit: 10}
		converse(t, Config{Authenticate: &Authentication{Check: check}}, false, h, func(tk *talk) {
			for _, p := range pieces {
				tk.bytes(p)
				tk.skip()
			}
			if err := tk.wantRun(); err != nil {
				t.Errorf("Run: %v", err)
			}
			calls = h.calls
		})
		return calls
	}
	want := play(t, first, second)
	if len(want) != 12 {
		t.Fatalf("the handler was told only %q", want)
	}
	for i := 1; i < len(first); i++ {
		if got := play(t, first[:i], first[i:], second); !reflect.DeepEqual(got, want) {
			t.Fatalf("split at %d of %d: handler was told\n%q\nwant\n%q", i, len(first), got, want)
		}
	}
	for i := 1; i < len(second); i++ {
		if got := play(t, first, second[:i], second[i:]); !reflect.DeepEqual(got, want) {
			t.Fatalf("split at %d of %d: handler was told\n%q\nwant\n%q", i, len(second), got, want)
		}
	}
	var single [][]byte
	for i := range first {
		single = append(single, first[i:i+1])
	}
	for i := range second {
		single = append(single, second[i:i+1])
	}
	if got := play(t, single...); !reflect.DeepEqual(got, want) {
		t.Fatalf("byte by byte: handler was told\n%q\nwant\n%q", got, want)
	}
}
