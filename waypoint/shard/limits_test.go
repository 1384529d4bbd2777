package shard

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestOverflowingFindsWhoIsOverTheLimit(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{MaxMessages: 3})
	r.start(2, "a", Limits{MaxBytes: 4 * Overhead})
	r.start(3, "a", Limits{})
	r.start(4, "a", Limits{MaxMessages: 100, MaxBytes: 1})
	head := func(add ...int) Totals {
		at := r.topic("a").Head.Totals
		for _, size := range add {
			at = at.Add(Size(size))
		}
		return at
	}
	check := func(at Totals, want ...uint64) {
		t.Helper()
		if got := r.Overflowing("a", at); !slices.Equal(got, want) {
			t.Errorf("overflowing at %v: %v, want %v", at, got, want)
		}
	}
	check(head())
	check(head(0), 4)
	m := r.publish(lane, "a", 0, 0, 0)
	check(head(), 4)
	check(head(0), 1, 4)
	check(head(0, 0), 1, 2, 4)
	check(head(Overhead+1), 1, 2, 4)
	r.confirm(1, m[2]) // also out of order
	check(head(0), 4)
	check(head(0, 0), 1, 2, 4)
	r.giveUp(4, CauseBytes, over(m[0], m[2]))
	check(head())
	r.fits(Command{Limits: []SetLimits{{Sub: 1, Limits: Limits{MaxMessages: 1}}, {Sub: 3, Limits: Limits{MaxMessages: 2}},
		{Sub: 2, Limits: Limits{}}, {Sub: 99}}})
	check(head(), 1, 3)
	r.sameAfterRestore()
	check(head(), 1, 3)
	if r.Overflowing("b", head()) != nil {
		t.Error("an unknown topic overflows")
	}
	r.fits(Command{End: []uint64{1}})
	check(head(), 3)
}

func TestHeapAgainstSorting(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	h := heap{order: byBytes}
	var in []*cursor
	for i := range 3000 {
		switch {
		case len(in) == 0 || rng.IntN(3) == 0:
			c := &cursor{sub: uint64(i)}
			h.set(c, rng.Uint64N(100))
			in = append(in, c)
		case rng.IntN(3) == 0:
			k := rng.IntN(len(in))
			h.remove(in[k])
			h.remove(in[k])
			in = slices.Delete(in, k, k+1)
		default:
			h.set(in[rng.IntN(len(in))], rng.Uint64N(100))
		}
		limit := rng.Uint64N(110)
		var got, want []uint64
		h.below(limit, func(c *cursor) { got = append(got, c.sub) })
		for _, c := range in {
			if c.key[byBytes] < limit {
				want = append(want, c.sub)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("below %d: %v, want %v", limit, got, want)
		}
		if len(in) == 0 {
			if h.top() != nil {
				t.Fatal("an empty heap has a top")
			}
			continue
		}
		lowest := slices.MinFunc(in, func(a, b *cursor) int { return cmp.Compare(a.key[byBytes], b.key[byBytes]) })
		if h.top().key[byBytes] != lowest.key[byBytes] {
			t.Fatalf("top %d, want %d", h.top().key[byBytes], lowest.key[byBytes])
		}
	}
}

func (r *replica) expired(want ...uint64) {
	r.t.Helper()
	got, err := r.Expired(r.now)
	if err != nil || !slices.Equal(got, want) {
		r.t.Errorf("expired at %d: %v %v, want %v", r.now, got, err, want)
	}
}

func (r *replica) deadline(want int64) {
	r.t.Helper()
	if got, ok := r.NextAgeDeadline(); !ok || got != want {
		r.t.Errorf("next deadline %d %v, want %d", got, ok, want)
	}
}

func TestAges(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	if _, ok := r.NextAgeDeadline(); ok {
		t.Error("a deadline without cursors")
	}
	r.start(1, "a", Limits{MaxAge: 10 * time.Second})
	r.start(2, "a", Limits{MaxAge: 20 * time.Second})
	r.start(3, "a", Limits{})
	begin := r.now
	r.deadline(begin + 10_000)
	m := r.publish(lane, "a", 1)
	r.now = begin + 4_000
	m = append(m, r.publish(lane, "a", 1)...)
	r.expired()
	r.now = begin + 9_999
	r.expired()
	r.now = begin + 10_000
	r.expired(1)
	r.expired(1) // until it is given up
	r.giveUp(1, CauseAge, m[0])
	r.expired()
	r.deadline(begin + 14_000)
	r.confirm(1, m[1])
	r.now = begin + 14_000
	r.expired() // 1 has nothing left and is parked
	r.deadline(begin + 20_000)
	r.now = begin + 25_000
	r.confirm(2, m[0], m[1])
	r.expired()
	if at, ok := r.NextAgeDeadline(); ok {
		t.Errorf("a deadline at %d, though nobody has a backlog", at)
	}
	// The next message wakes both.
	r.publish(lane, "a", 1)
	r.deadline(begin + 35_000)
	r.now = begin + 35_000
	r.expired(1)
	// Shorter and longer limits.
	r.fits(Command{Limits: []SetLimits{{Sub: 1, Limits: Limits{MaxAge: time.Hour}}, {Sub: 2, Limits: Limits{MaxAge: time.Second}},
		{Sub: 3, Limits: Limits{MaxAge: time.Second}}}})
	r.expired(2, 3)
	r.restart()
	r.expired(2, 3)
	r.fits(Command{Limits: []SetLimits{{Sub: 2}, {Sub: 3}}})
	r.deadline(begin + 25_000 + time.Hour.Milliseconds())
	r.fits(Command{End: []uint64{1}})
	if at, ok := r.NextAgeDeadline(); ok {
		t.Errorf("a deadline at %d, though nobody has a max-age", at)
	}
}

func TestParkedCursorsMayEndAndChange(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	for sub := uint64(1); sub <= 4; sub++ {
		r.start(sub, "a", Limits{MaxAge: time.Second})
	}
	r.now += 5_000
	r.expired()
	if n := len(r.topics["a"].parked); n != 4 {
		t.Fatalf("%d parked, want 4", n)
	}
	r.fits(Command{End: []uint64{2}, Limits: []SetLimits{{Sub: 3, Limits: Limits{MaxAge: 2 * time.Second}}, {Sub: 4}}})
	r.publish(lane, "a", 1)
	r.deadline(r.now + 1_000)
	r.now += 1_000
	r.expired(1)
	r.now += 1_000
	r.expired(1, 3)
	// A topic that goes with its parked cursors leaves nothing behind.
	r.fits(Command{End: []uint64{1, 3, 4}})
	if _, ok := r.NextAgeDeadline(); ok {
		t.Error("a deadline of cursors that are gone")
	}
}

func TestForecastIsWhatApplyDoes(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	r.start(2, "b", Limits{})
	r.publish(lane, "a", 1, 2)
	last, _ := r.Lane(lane)
	c := Command{Start: []Start{{Sub: 3, Address: "c"}, {Sub: 2, Address: "x"}, {Sub: 4, Address: "d"}}, End: []uint64{2, 4, 99}}
	f := r.Forecast()
	for _, x := range c.Start {
		f.Start(x.Sub, x.Address)
	}
	for _, sub := range c.End {
		f.End(sub)
	}
	type kept struct {
		at Position
		ok bool
	}
	var want []kept
	for i, address := range []string{"a", "b", "c", "a", "d", "c", "x", "none"} {
		p := Publish{Lane: lane, N: last.Last + 1 + uint64(i), Address: address, Payload: make([]byte, 10*i)}
		at, ok := f.Keep(p.Address, len(p.Payload))
		want = append(want, kept{at, ok})
		c.Publish = append(c.Publish, p)
	}
	for i, got := range r.fits(c).Publish {
		if (got.Status == StatusKept) != want[i].ok || got.At != want[i].at {
			t.Errorf("publish %d to %s: %+v, forecast %+v", i, c.Publish[i].Address, got, want[i])
		}
	}
	for _, address := range []string{"a", "b", "c", "d", "x"} {
		at, ok := f.Topic(address)
		if topic, found := r.Topic(address); found != ok || found && topic.Head != at {
			t.Errorf("topic %s: %+v %v, forecast %+v %v", address, topic, found, at, ok)
		}
	}
}

// What a publish pushes out goes in the same command, even if it is the publish itself.
func TestEvictInTheSameCommand(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{MaxMessages: 2})
	r.start(2, "a", Limits{})
	m := r.publish(lane, "a", 1, 1)
	f := r.Forecast()
	c := Command{}
	for n := uint64(3); n <= 6; n++ {
		at, _ := f.Keep("a", 5)
		m = append(m, Single(at.Seq, at.Totals, 5))
		c.Publish = append(c.Publish, Publish{Lane: lane, N: n, Address: "a", Payload: make([]byte, 5)})
	}
	at, _ := f.Topic("a")
	if got := r.Overflowing("a", at.Totals); !slices.Equal(got, []uint64{1}) {
		t.Fatalf("overflowing %v", got)
	}
	c.Evict = []GiveUp{{Sub: 1, Cause: CauseMessages, Ranges: []Range{over(m[0], m[3])}}}
	r.fits(c)
	if got := r.pending(1, 0); !slices.Equal(got, seqs(m[4:]...)) {
		t.Errorf("pending %v, want %v", got, seqs(m[4:]...))
	}
	if got := r.pending(2, 0); len(got) != 6 {
		t.Errorf("pending %v, want all six", got)
	}
	if g := r.cursor(1).Gap; g.Messages != 4 || len(g.Ranges) != 1 {
		t.Errorf("gap %+v", g)
	}
	r.sameAfterRestore()
}

// A leader that foresees wrong must not get its totals into a cursor: they would contradict the messages for ever.
func TestEvictionsThatWereForeseenWrong(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	r.start(2, "b", Limits{})
	m := r.publish(lane, "a", 1, 1)
	right := Command{Publish: []Publish{
		{Lane: lane, N: 3, Address: "a", Payload: make([]byte, 5)},
		{Lane: lane, N: 4, Address: "b", Payload: make([]byte, 5)},
		{Lane: lane, N: 5, Address: "a", Payload: make([]byte, 5)},
		{Lane: lane, N: 6, Address: "a", Payload: make([]byte, 5)},
	}}
	f := r.Forecast()
	for _, p := range right.Publish {
		at, _ := f.Keep(p.Address, len(p.Payload))
		m = append(m, Single(at.Seq, at.Totals, len(p.Payload)))
	}
	change := func(x Range, d uint64) Range {
		x.Before.Bytes += d
		x.At.Bytes += d
		return x
	}
	right.Evict = []GiveUp{
		{Sub: 1, Cause: CauseMessages, Ranges: []Range{change(over(m[2], m[4]), 1)}},
		{Sub: 1, Cause: CauseMessages, Ranges: []Range{{From: m[3].From, Through: m[4].From, Before: m[1].At, At: m[4].At}}},
		{Sub: 1, Cause: CauseMessages, Ranges: []Range{{From: m[0].From, Through: m[5].From, Before: m[0].Before, At: m[4].At}}},
		{Sub: 1, Cause: CauseMessages, Ranges: []Range{over(m[0], m[4])}},
	}
	if got := r.do(right).Faults; len(got) != 3 || got[2].Item != 2 {
		t.Errorf("faults %+v, want one for each of the first three", got)
	}
	if got := r.pending(1, 0); !slices.Equal(got, seqs(m[5])) {
		t.Errorf("pending %v", got)
	}
}
