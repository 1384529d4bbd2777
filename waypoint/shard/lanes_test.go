package shard

import (
	"errors"
	"strings"
	"testing"

	"github.com/posthouse/posthouse/storage"
)

func TestALaneTakesOnlyItsNextNumber(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	one := func(lane, n uint64) PublishResult {
		t.Helper()
		return r.fits(Command{Publish: []Publish{{Lane: lane, N: n, Address: "a", Payload: []byte("x")}}}).Publish[0]
	}
	for _, s := range []struct {
		name   string
		n      uint64
		status Status
		last   uint64
	}{
		{"a jump at the start", 2, StatusJumped, 0},
		{"zero", 0, StatusRepeated, 0},
		{"the first", 1, StatusKept, 1},
		{"again", 1, StatusRepeated, 1},
		{"a jump", 3, StatusJumped, 1},
		{"the second", 2, StatusKept, 2},
		{"an old one", 1, StatusRepeated, 2},
	} {
		if got := one(lane, s.n); got.Status != s.status {
			t.Errorf("%s: status %d, want %d", s.name, got.Status, s.status)
		}
		if l, _ := r.Lane(lane); l.Last != s.last {
			t.Errorf("%s: last %d, want %d", s.name, l.Last, s.last)
		}
		r.sameAfterRestore()
	}
	if got := one(lane+1, 1); got.Status != StatusNoLane {
		t.Errorf("an unknown lane: status %d", got.Status)
	}
	if b, _ := r.Backlog(1); b.Messages != 2 {
		t.Errorf("kept %v, want 2", b)
	}
}

func TestRepeatsInsideOneCommand(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	p := func(n uint64) Publish { return Publish{Lane: lane, N: n, Address: "a"} }
	got := r.fits(Command{Publish: []Publish{p(1), p(2), p(2), p(4), p(3), p(4)}}).Publish
	for i, want := range []Status{StatusKept, StatusKept, StatusRepeated, StatusJumped, StatusKept, StatusKept} {
		if got[i].Status != want {
			t.Errorf("publish %d: status %d, want %d", i, got[i].Status, want)
		}
	}
	if got[1].At.Seq+1 != got[4].At.Seq {
		t.Errorf("what was left out has taken a seq: %+v", got)
	}
}

func TestRefusalsStayUntilAcknowledged(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	limit := Refusal{Condition: "amqp:resource-limit-exceeded", Subscription: "s1", Reason: 1, Limit: 10, Used: 9, RetryAfterMS: 100}
	result := r.fits(Command{Publish: []Publish{
		{Lane: lane, N: 1, Address: "a", Payload: []byte("kept")},
		{Lane: lane, N: 2, Address: "a", Verdict: Refuse, Refusal: &limit},
		{Lane: lane, N: 3, Verdict: Void},
		{Lane: lane, N: 4, Address: "a", Verdict: NoView},
		{Lane: lane, N: 5, Address: "nobody"},
		{Lane: lane, N: 6, Verdict: Refuse},
	}})
	for i, want := range []Status{StatusKept, StatusRefused, StatusRefused, StatusNoView, StatusNoView, StatusRefused} {
		if got := result.Publish[i].Status; got != want {
			t.Errorf("publish %d: status %d, want %d", i+1, got, want)
		}
	}
	want := []Refused{{2, limit}, {3, Refusal{Reason: ReasonVoid}}, {6, Refusal{}}}
	check := func() {
		t.Helper()
		got := r.Refusals(lane)
		if len(got) != len(want) {
			t.Fatalf("refusals %+v, want %+v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("refusal %d is %+v, want %+v", i, got[i], want[i])
			}
		}
		r.sameAfterRestore()
	}
	check()
	r.fits(Command{AckRefusals: []AckRefusals{{lane, 2}, {99, 5}}})
	want = want[1:]
	check()
	r.fits(Command{LaneForget: []uint64{lane}})
	want = nil
	check()
	if strings.Contains(r.dump(), "\nf ") {
		t.Error("refusals of a forgotten lane are still stored")
	}
}

func TestOneLaneForEachIncarnation(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lanes := r.fits(Command{LaneOpen: []LaneOpen{{"r", 1}, {"r", 2}, {"s", 1}, {"r", 1}}}).Lanes
	if lanes[0].ID == lanes[1].ID || lanes[0].ID == lanes[2].ID || lanes[0].ID != lanes[3].ID {
		t.Errorf("lanes %+v", lanes)
	}
	r.start(1, "a", Limits{})
	r.now += 1000
	r.publish(lanes[0].ID, "a", 1, 2, 3)
	again := r.fits(Command{LaneOpen: []LaneOpen{{"r", 1}}}).Lanes[0]
	if again.ID != lanes[0].ID || again.Last != 3 || again.Active != r.now {
		t.Errorf("opened again: %+v", again)
	}
	if l, ok := r.FindLane("r", 1); !ok || l != again {
		t.Errorf("found %+v %v", l, ok)
	}
	// A forgotten one is not known again: the next is new, and the number 1 does not open it.
	r.fits(Command{LaneForget: []uint64{again.ID}})
	if s := r.fits(Command{Publish: []Publish{{Lane: again.ID, N: 1, Address: "a"}}}).Publish[0].Status; s != StatusNoLane {
		t.Errorf("status %d, want NoLane", s)
	}
	if l := r.fits(Command{LaneOpen: []LaneOpen{{"r", 1}}}).Lanes[0]; l.ID <= lanes[2].ID || l.Last != 0 {
		t.Errorf("opened after it was forgotten: %+v", l)
	}
	if result := r.do(Command{LaneOpen: []LaneOpen{{"", 1}}}); len(result.Faults) != 1 || len(result.Lanes) != 1 {
		t.Errorf("a router without a name: %+v", result)
	}
	r.sameAfterRestore()
}

func TestACommandOfANewerVersionEndsTheProcess(t *testing.T) {
	s := openStore(t)
	state, err := s.State(1)
	if err != nil {
		t.Fatal(err)
	}
	type died struct{ err error }
	m := New(Config{State: state, Fatal: func(msg string, err error) { panic(died{err}) }})
	if err := m.Restore(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if d, ok := recover().(died); !ok || !errors.Is(d.err, ErrNewer) {
			t.Errorf("ended with %v, want ErrNewer", d)
		}
	}()
	b := state.NewBatch()
	defer b.Close()
	m.Apply(b, Entry{Index: 1, Data: []byte{commandVersion + 1, 0}})
	t.Error("it was applied")
}

func TestAMalformedCommandDoesNothing(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	before := r.memory()
	c := Command{LaneOpen: []LaneOpen{{"r", 1}}}
	data := c.Encode(nil)
	result := r.doBytes(data[:len(data)-1])
	if !errors.Is(result.Err, ErrMalformed) || r.put.bytes != 0 || r.memory() != before {
		t.Errorf("result %+v, wrote %v", result, r.put.writes)
	}
}

func TestRestoreRefusesWhatDoesNotFitTogether(t *testing.T) {
	for name, damage := range map[string]func(r *replica, b *storage.Batch){
		"no topic": func(r *replica, b *storage.Batch) {
			b.Delete(storage.AppendKey(nil, storage.KeyTopic, 1))
		},
		"no cursor": func(r *replica, b *storage.Batch) {
			b.Delete(storage.AppendKey(nil, storage.KeyCursor, 1))
		},
		"no messages": func(r *replica, b *storage.Batch) {
			b.DeleteRange(storage.AppendKey(nil, storage.KeyMessage), storage.AppendKeyAfter(nil, storage.KeyMessage))
		},
		"no header": func(r *replica, b *storage.Batch) { b.Delete(storage.AppendKey(nil, storage.KeyHeader)) },
		"an older place": func(r *replica, b *storage.Batch) {
			place := storage.PlaceRecord{Floor: totals(1, 70), FloorSeq: 1}
			b.Set(storage.AppendKey(nil, storage.KeyPlace, 1), place.Append(nil))
		},
		"a refusal of no lane": func(r *replica, b *storage.Batch) { b.Delete(storage.AppendKey(nil, storage.KeyLane, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplica(t, openStore(t), 1)
			lane := r.lane()
			r.start(1, "a", Limits{})
			m := r.publish(lane, "a", 6, 6, 6)
			r.fits(Command{Publish: []Publish{{Lane: lane, N: 4, Verdict: Void}}})
			r.confirm(1, m[0], m[2])
			b := r.state.NewBatch()
			defer b.Close()
			damage(r, b)
			if err := b.Commit(r.index); err != nil {
				t.Fatal(err)
			}
			m2 := New(r.config)
			if err := m2.Restore(); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("error %v, want ErrCorrupt", err)
			}
		})
	}
}
