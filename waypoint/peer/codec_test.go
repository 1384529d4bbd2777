package peer

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
)

// samples has one of each message with all fields set.
func samples() []Message {
	refusal := Refusal{Condition: "amqp:resource-limit-exceeded", Subscription: "s", Reason: ReasonLimit, Limit: 1000, Used: 1001, RetryAfterMS: 250}
	state := SubState{1, 2, 3, 4, 5, 6, Limits{7, 8, 9, 10, OverflowReject}}
	pressure := Pressure{Level: LevelFull, Reason: ReasonDisk, RetryAfterMS: 1000}
	return []Message{
		&Reset{Reason: "why"}, &Ping{}, &Pong{},
		&Hello{Router: "n1", Boot: 1 << 60, Lane: 17, Term: 3},
		&Welcome{Term: 4, Lane: 17, Last: 99, Refused: []RefusedPublish{{98, refusal}, {99, Refusal{Condition: "x"}}}, Pressure: pressure},
		&NotLeader{Leader: "n2"},
		&Publish{Items: []PublishItem{{N: 1, Address: "a", Payload: []byte("p")}, {N: 2, Void: true}}},
		&Answers{Through: 9, Except: []Exception{{N: 7, Refusal: &refusal}, {N: 8}}},
		&AckRefusals{Through: 5},
		&Topics{Refusing: []TopicRefusal{{"a", refusal}}, Cleared: []string{"b", "c"}, Pressure: pressure},
		&Forgotten{},
		&Attach{Sub: 1, Gen: 2, Name: "n", Credit: 3, Drain: true, Held: []Held{{4, 5, 6}}},
		&Attached{1, 2, state},
		&Credit{Sub: 1, Gen: 2, Limit: 3, Drain: true},
		&Drained{Sub: 1, Gen: 2, Limit: 3},
		&Deliver{Sub: 1, Gen: 2, Seq: 3, Count: 4, Redelivered: true, Time: 5, Address: "a", Payload: []byte("p"),
			Gap: &Gap{Version: 1, Messages: 2, Causes: []GapCause{{CauseAge, 3}}, Ranges: []GapRange{{4, 5, 6, CauseBytes}}}},
		&Outcome{Sub: 1, Gen: 2, Items: []OutcomeItem{{Seq: 3, Count: 4, GapVersion: 5, State: Modified, Flags: FlagFailed, Extra: []byte("e")}}},
		&Committed{Sub: 1, Gen: 2, Items: []Settled{{3, 4}}},
		&Leave{1, 2}, &Left{1, 2},
		&State{1, 2, state},
		&Ended{Sub: 1, Gen: 2, Condition: "amqp:link:stolen", Text: "t"},
		&Window{Bytes: 1 << 40},
		&Renew{ID: 1, Confirmed: 2},
		&Lease{ID: 1, Millis: 2, Epoch: 3, Full: true, Since: 4, Add: []string{"a"}, Del: []string{"b"}, More: true, Policy: []byte("{}"), Slots: []uint32{1, 2}},
		&Notice{Sub: 1, Gen: 2, Condition: "c", Text: "t"},
		&MissedNotice{Sub: 1, Missed: Missed{AtMost: 2, Unknown: 3}, Heard: Missed{AtMost: 1, Unknown: 4}},
		&request{Op: "o", Body: []byte("b")}, &response{Code: codeRefused, Body: []byte("b")},
	}
}

func TestEveryMessageComesBack(t *testing.T) {
	seen := map[Kind]bool{}
	for _, m := range samples() {
		seen[m.Kind()] = true
		// All fields set: a field that the codec forgets must show.
		v := reflect.ValueOf(m).Elem()
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%v: sample has no %s", m.Kind(), v.Type().Field(i).Name)
			}
		}
		for _, in := range []Message{m, newMessage(m.Kind())} { // with all fields, and with none
			list, err := parseMessages(appendMessage(nil, in))
			if err != nil {
				t.Fatalf("%v: %v", m.Kind(), err)
			}
			if len(list) != 1 || !reflect.DeepEqual(list[0], in) {
				t.Errorf("%v:\n got %+v\nwant %+v", m.Kind(), list[0], in)
			}
		}
	}
	for k := range kindNames {
		if !seen[k] {
			t.Errorf("no sample of %v", k)
		}
	}
}

// Fields added by a later version at the end of a message are skipped.
func TestUnknownFieldsAreSkipped(t *testing.T) {
	for _, m := range samples() {
		b := appendMessage(nil, m)
		b = append(b, "later"...)
		b[4] += byte(len("later"))
		b = appendMessage(b, &Ping{})
		list, err := parseMessages(b)
		if err != nil || len(list) != 2 || !reflect.DeepEqual(list[0], m) {
			t.Errorf("%v: %v %+v", m.Kind(), err, list)
		}
	}
}

// A field added at the end of a message is none where an earlier version has sent it.
func TestMissingFieldsAreNone(t *testing.T) {
	for _, m := range []Message{new(Welcome), new(Topics)} {
		b := appendMessage(nil, m)
		b = b[:len(b)-3] // without the Pressure
		b[4] -= 3
		list, err := parseMessages(appendMessage(b, &Ping{}))
		if err != nil || len(list) != 2 || !reflect.DeepEqual(list[0], m) {
			t.Errorf("%v: %v %+v", m.Kind(), err, list)
		}
	}
}

func TestMalformedBodies(t *testing.T) {
	valid := appendMessage(appendHeader(nil, header{dir: up, group: 1, session: 2, seq: 3}), &Hello{Router: "r"})
	change := func(at int, v byte) []byte {
		b := bytes.Clone(valid)
		b[at] = v
		return b
	}
	for _, test := range []struct {
		name string
		body []byte
	}{
		{"empty", nil},
		{"short header", valid[:headerSize-1]},
		{"version", change(0, 2)},
		{"direction 0", change(1, 0)},
		{"direction 4", change(1, 4)},
		{"unknown kind", change(headerSize, 200)},
		{"message longer than the body", change(headerSize+4, 200)},
		{"message shorter than its fields", change(headerSize+4, 2)},
		{"cut", valid[:len(valid)-1]},
		{"rest too short for a message", append(bytes.Clone(valid), 1, 0, 0)},
		{"too large", make([]byte, MaxBody+1)},
	} {
		_, rest, err := parseHeader(test.body)
		if err == nil {
			_, err = parseMessages(rest)
		}
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// A claimed count allocates nothing.
func TestCountsAreNotBelieved(t *testing.T) {
	for _, m := range []Message{new(Publish), new(Welcome), new(Answers), new(Topics), new(Lease)} {
		body := bytes.Repeat([]byte{0xff}, 20)
		r := reader{b: body}
		if allocated := testing.AllocsPerRun(10, func() {
			r = reader{b: body}
			m.decode(&r)
		}); allocated > 4 {
			t.Errorf("%v: %v allocations", m.Kind(), allocated)
		}
		if r.err == nil {
			t.Errorf("%v: no error", m.Kind())
		}
	}
	r := reader{b: append(appendUint(nil, 1<<40), make([]byte, 100)...)}
	if list := readList(&r, 1, func(v *[1 << 20]byte) {}); list != nil || !errors.Is(r.err, errLong) {
		t.Errorf("%d items, %v", len(list), r.err)
	}
}

func TestSetSeq(t *testing.T) {
	b := appendHeader(nil, header{dir: down, group: 7, session: 8})
	setSeq(b, 1<<50)
	h, _, err := parseHeader(b)
	if want := (header{dir: down, group: 7, session: 8, seq: 1 << 50}); err != nil || h != want {
		t.Fatalf("%+v %v", h, err)
	}
}

// FuzzBody: what can be read is written the same way again, and nothing panics.
func FuzzBody(f *testing.F) {
	hd := header{dir: up, group: 1, session: 2, seq: 3}
	all := appendHeader(nil, hd)
	for _, m := range samples() {
		f.Add(appendMessage(appendHeader(nil, hd), m))
		all = appendMessage(all, m)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, body []byte) {
		h, rest, err := parseHeader(body)
		if err != nil {
			return
		}
		list, err := parseMessages(rest)
		if err != nil {
			return
		}
		again := appendHeader(nil, h)
		for _, m := range list {
			again = appendMessage(again, m)
		}
		_, rest, err = parseHeader(again)
		if err != nil {
			t.Fatal(err)
		}
		list2, err := parseMessages(rest)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(list, list2) {
			t.Fatalf("%+v\n%+v", list, list2)
		}
	})
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, address string
		want             bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "a/b", false}, {"a/b", "a", false},
		{"*", "a", true}, {"*", "a/b", false}, {"*/b", "a/b", true}, {"a/*/c", "a/b/c", true}, {"a/*/c", "a/b/d", false},
		{"#", "", true}, {"#", "a/b", true}, {"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false}, {"a/*", "a", false},
		{"a/*/#", "a", false}, {"a/*/#", "a/b", true}, {"a/", "a/", true}, {"a/", "a", false},
		{"a.*.c", "a.b.c", true}, {"a.b", "a/b", false}, {"openstack.org/om/#", "openstack.org/om/x/y", true}, {"unicast.#", "unicast", true}, {"unicast.#", "unicast/x", false},
	} {
		if got := Match(test.pattern, test.address); got != test.want {
			t.Errorf("Match(%q, %q) = %v", test.pattern, test.address, got)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	p, err := ParsePolicy([]byte(`{"addresses":[{"pattern":"orders/#","isolated":"refuse","caps":{"max_messages":5,"overflow":"reject"}}],"default":{"unrouted":"release"},"later":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if a := p.For("orders/x"); a.Isolated != IsolatedRefuse || a.Caps.MaxMessages != 5 || a.Caps.Overflow != OverflowReject {
		t.Errorf("%+v", a)
	}
	if a := p.For("other"); a.Unrouted != UnroutedRelease {
		t.Errorf("%+v", a)
	}
	for _, bad := range []string{`{`, `{"default":{"isolated":"x"}}`, `{"default":{"unrouted":"x"}}`, `{"addresses":[{}]}`,
		`{"addresses":[{"pattern":"#/a"}]}`, `{"default":{"caps":{"overflow":"x"}}}`} {
		if _, err := ParsePolicy([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	if n := testing.AllocsPerRun(100, func() { p.For("orders/x/y") }); n != 0 {
		t.Errorf("For: %v allocations", n)
	}
}

func BenchmarkPublishBody(b *testing.B) {
	payload := make([]byte, 128)
	for i := range payload {
		payload[i] = byte(rand.Uint32())
	}
	m := &Publish{}
	for n := range uint64(100) {
		m.Items = append(m.Items, PublishItem{N: n, Address: "orders/eu", Payload: payload})
	}
	b.ReportAllocs()
	for b.Loop() {
		body := appendMessage(make([]byte, 0, BatchBytes), m)
		if _, err := parseMessages(body); err != nil {
			b.Fatal(err)
		}
	}
}
