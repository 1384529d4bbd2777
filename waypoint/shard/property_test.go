package shard

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
)

var (
	rounds = flag.Int("rounds", 8, "random histories to try")
	seed   = flag.Uint64("seed", 0, "try the history of this seed alone")
)

// TestRandomHistories feeds random commands to two replicas and to the model. The replicas forget their memory, or are
// replaced by a copy of the other, at random points. All three must agree after each command.
func TestRandomHistories(t *testing.T) {
	s := openStore(t)
	first, last := uint64(1), uint64(*rounds)
	if *seed != 0 {
		first, last = *seed, *seed
	}
	group := uint32(0)
	for n := first; n <= last; n++ {
		h := &history{t: t, store: s, group: &group, rng: rand.New(rand.NewPCG(n, 99)), model: newModel()}
		h.a, h.b = h.newReplica(), h.newReplica()
		t.Run(fmt.Sprint("seed=", n), func(t *testing.T) {
			h.t, h.a.t, h.b.t = t, t, t
			h.run(120 + h.rng.IntN(120))
		})
	}
}

type history struct {
	t     *testing.T
	store *storage.Store
	group *uint32
	rng   *rand.Rand
	model *model
	a, b  *replica

	late   *replica // a copy that was left behind, as after a crash
	missed []missed // what it has to catch up on

	subs      uint64 // given out
	collapsed map[uint64]bool
}

// missed is a command that a replica applies later than others.
type missed struct {
	command Command
	now     int64
}

func (h *history) newReplica() *replica {
	*h.group++
	return newReplica(h.t, h.store, *h.group)
}

func (h *history) run(steps int) {
	h.collapsed = make(map[uint64]bool)
	for range steps {
		now := h.a.now + h.rng.Int64N(400)
		h.a.now, h.b.now = now, now
		c := h.command()
		h.a.fits(c)
		h.b.fits(c)
		h.missed = append(h.missed, missed{c, now})
		h.model.apply(&c, h.a.index, now)
		h.compare()
		h.disturb()
	}
	if a, b := h.a.dump(), h.b.dump(); a != b {
		h.t.Fatalf("replicas differ:\n%s", difference(a, b))
	}
	h.catchUp()
}

// disturb does to the replicas what must not matter.
func (h *history) disturb() {
	switch h.rng.IntN(24) {
	case 0:
		h.a.sameAfterRestore()
	case 1:
		h.b.sameAfterRestore()
	case 2:
		if a, b := h.a.dump(), h.b.dump(); a != b {
			h.t.Fatalf("replicas differ:\n%s", difference(a, b))
		}
	case 3:
		h.b = h.transfer(h.a)
	case 4:
		h.catchUp()
		h.late, h.missed = h.transfer(h.b), nil
	}
}

// catchUp replays what a copy has missed. It must end where the others are.
func (h *history) catchUp() {
	h.t.Helper()
	if h.late == nil {
		return
	}
	for _, x := range h.missed {
		h.late.now = x.now
		h.late.fits(x.command)
		if h.rng.IntN(20) == 0 {
			h.late.sameAfterRestore()
		}
	}
	if a, late := h.a.dump(), h.late.dump(); a != late {
		h.t.Fatalf("a replica that was behind differs:\n%s", difference(a, late))
	}
}

// transfer makes a replica from another's dump in chunks.
func (h *history) transfer(from *replica) *replica {
	h.t.Helper()
	to := h.newReplica()
	must := func(err error) {
		h.t.Helper()
		if err != nil {
			h.t.Fatal(err)
		}
	}
	export, err := from.state.Export(h.t.Context())
	must(err)
	staged, err := to.state.Import(export.Header())
	must(err)
	for !staged.Done() {
		chunk, _, err := export.Chunk(staged.Next())
		must(err)
		_, err = staged.Put(chunk)
		must(err)
	}
	must(staged.Finish(h.t.Context(), storage.SnapshotRecord{Index: export.Header().Index, Term: 1}))
	must(export.Close())
	to.index, to.now = from.index, from.now
	must(to.Restore())
	if a, b := from.memory(), to.memory(); a != b {
		h.t.Fatalf("the copy differs:\n%s", difference(a, b))
	}
	return to
}

func (h *history) compare() {
	h.t.Helper()
	m, r := h.model, h.a
	if r.Last() != m.seq {
		h.t.Fatalf("last seq %d, want %d", r.Last(), m.seq)
	}
	if len(r.Cursors()) != len(m.cursors) || len(r.Topics()) != len(m.topics) || len(r.Lanes()) != len(m.lanes) {
		h.t.Fatalf("%d cursors, %d topics, %d lanes, want %d, %d, %d", len(r.Cursors()), len(r.Topics()), len(r.Lanes()),
			len(m.cursors), len(m.topics), len(m.lanes))
	}
	for _, t := range m.topics {
		h.compareTopic(t)
	}
	for _, k := range m.cursors {
		h.compareCursor(k)
	}
	for _, l := range m.lanes {
		got, ok := r.Lane(l.id)
		want := Lane{ID: l.id, Router: l.owner.router, Boot: l.owner.boot, Last: l.last, Active: l.active, Refused: len(l.refused)}
		if !ok || got != want {
			h.t.Fatalf("lane %+v %v, want %+v", got, ok, want)
		}
		for _, x := range r.Refusals(l.id) {
			if l.refused[x.N] != x.Refusal {
				h.t.Fatalf("lane %d: refusal %+v, want %+v", l.id, x, l.refused[x.N])
			}
		}
	}
	h.compareAges()
}

func (h *history) compareTopic(t *modelTopic) {
	h.t.Helper()
	r := h.a
	got, ok := r.Topic(t.address)
	if !ok || got.ID != t.id || got.Head != (Position{t.head(), t.total()}) || got.Cursors != len(h.model.on(t)) {
		h.t.Fatalf("topic %+v %v, want %+v", got, ok, t)
	}
	var kept Totals
	var stored []uint64
	for _, x := range t.messages {
		if !x.deleted {
			kept = kept.Add(Size(x.size))
			stored = append(stored, x.seq)
		}
		if h.rng.IntN(8) == 0 {
			at, err := r.TotalsAt(t.id, x.seq)
			// Inside a hole nobody knows; its end may lie behind its last message.
			if err != nil && !x.deleted || err == nil && at != x.at {
				h.t.Fatalf("totals at %d: %v %v, want %v (deleted: %v)", x.seq, at, err, x.at, x.deleted)
			}
		}
	}
	if got.Kept != kept {
		h.t.Fatalf("topic %s keeps %v, want %v", t.address, got.Kept, kept)
	}
	if got := r.stored(t.address); !slices.Equal(got, stored) {
		h.t.Fatalf("topic %s has %v on disk, want %v", t.address, got, stored)
	}
	var over []uint64
	at := got.Head.Totals.Add(totals(h.rng.Uint64N(20), h.rng.Uint64N(2000)))
	for _, k := range h.model.on(t) {
		_, backlog := k.counts()
		would := backlog.Add(at.Sub(t.total()))
		if l := k.limits; l.MaxMessages != 0 && would.Messages > l.MaxMessages || l.MaxBytes != 0 && would.Bytes > l.MaxBytes {
			over = append(over, k.sub)
		}
	}
	if got := r.Overflowing(t.address, at); !slices.Equal(got, over) {
		h.t.Fatalf("topic %s: overflowing %v, want %v", t.address, got, over)
	}
	h.compareTrimmable(t)
}

func (h *history) compareTrimmable(t *modelTopic) {
	h.t.Helper()
	var want []uint64
	for i, x := range t.messages {
		needed := slices.ContainsFunc(h.model.on(t), func(k *modelCursor) bool {
			_, done := k.settled[x.seq]
			return i >= k.start && !done
		})
		if !needed && !x.deleted {
			want = append(want, x.seq)
		}
	}
	var got []uint64
	for _, r := range h.a.Trimmable(t.id) {
		var sum Totals
		for _, x := range t.messages {
			if x.seq >= r.From && x.seq <= r.Through {
				got = append(got, x.seq)
				sum = sum.Add(Size(x.size))
			}
		}
		if sum != r.Totals() {
			h.t.Fatalf("trimmable %+v holds %v", r, sum)
		}
	}
	if !slices.Equal(got, want) {
		h.t.Fatalf("topic %s: trimmable %v, want %v", t.address, got, want)
	}
}

func (h *history) compareCursor(k *modelCursor) {
	h.t.Helper()
	r := h.a
	c, ok := r.Cursor(k.sub)
	by, backlog := k.counts()
	confirmed := by[0]
	by[0] = Totals{}
	if !ok || c.Address != k.topic.address || c.Limits != k.limits || c.Gen != k.gen || c.Mark != k.mark || !slices.Equal(c.Holders, k.holders) {
		h.t.Fatalf("cursor %+v %v, want %+v", c, ok, k)
	}
	if c.Backlog != backlog || c.Confirmed != confirmed || c.ByCause != by {
		h.t.Fatalf("cursor %+v, want backlog %v, confirmed %v, given up %v", c, backlog, confirmed, by)
	}
	pending := k.pending()
	if got := r.pending(k.sub, 0); !slices.Equal(got, pending) {
		h.t.Fatalf("subscription %d: pending %v, want %v", k.sub, got, pending)
	}
	floor := k.topic.head()
	if len(pending) > 0 {
		i := slices.IndexFunc(k.topic.messages, func(x modelMessage) bool { return x.seq == pending[0] })
		floor = k.topic.begin
		if i > 0 {
			floor = k.topic.messages[i-1].seq
		}
	}
	if c.Floor.Seq < floor || len(pending) > 0 && c.Floor.Seq >= pending[0] {
		h.t.Fatalf("subscription %d: floor %v, want from %d to below %v", k.sub, c.Floor, floor, pending)
	}
	for _, x := range k.topic.messages {
		if got := r.Failed(k.sub, x.seq); got != k.failed[x.seq] {
			h.t.Fatalf("subscription %d: message %d failed %d times, want %d", k.sub, x.seq, got, k.failed[x.seq])
		}
		if _, done := k.settled[x.seq]; x.seq > c.Start.Seq && r.IsSettled(k.sub, x.seq) != done {
			h.t.Fatalf("subscription %d: message %d settled %v, want %v", k.sub, x.seq, !done, done)
		}
	}
	h.compareGap(k, c.Gap)
}

// compareGap: exactly what was not heard, or more if ranges had to collapse since the gap began.
func (h *history) compareGap(k *modelCursor, g Gap) {
	h.t.Helper()
	var want Gap
	for _, x := range k.unheard {
		want.Version = x.version
		want.Messages++
		want.Bytes += Size(x.size).Bytes
		want.Causes[x.cause]++
	}
	if len(g.Ranges) == MaxGapRanges {
		h.collapsed[k.sub] = true
	}
	ranges := g.Ranges
	g.Ranges = nil
	switch {
	case len(ranges) == 0 && want.Messages == 0:
		h.collapsed[k.sub] = false
	case h.collapsed[k.sub]:
		if g.Messages < want.Messages || g.Bytes < want.Bytes || g.Version < want.Version {
			h.t.Fatalf("subscription %d: gap %+v, want at least %+v", k.sub, g, want)
		}
	default:
		if fmt.Sprint(g) != fmt.Sprint(want) {
			h.t.Fatalf("subscription %d: gap %+v, want %+v", k.sub, g, want)
		}
	}
	for _, x := range k.unheard {
		if !slices.ContainsFunc(ranges, func(r GapRange) bool { return r.From <= x.seq && x.seq <= r.Through }) {
			h.t.Fatalf("subscription %d: message %d is in no range of the gap %+v", k.sub, x.seq, ranges)
		}
	}
}

// compareAges: only one replica is asked, as only one leads.
func (h *history) compareAges() {
	h.t.Helper()
	now := h.a.now
	var want []uint64
	next := int64(-1)
	for _, sub := range slices.Sorted(maps.Keys(h.model.cursors)) {
		k := h.model.cursors[sub]
		pending := k.pending()
		if k.limits.MaxAge == 0 || len(pending) == 0 {
			continue
		}
		i := slices.IndexFunc(k.topic.messages, func(x modelMessage) bool { return x.seq == pending[0] })
		deadline := k.topic.messages[i].time + k.limits.MaxAge.Milliseconds()
		if next < 0 || deadline < next {
			next = deadline
		}
		if deadline <= now {
			want = append(want, sub)
		}
	}
	if at, ok := h.a.NextAgeDeadline(); next >= 0 && (!ok || at > next) {
		h.t.Fatalf("next deadline %d %v, want at most %d", at, ok, next)
	}
	if h.rng.IntN(3) != 0 {
		return
	}
	if got, err := h.a.Expired(now); err != nil || !slices.Equal(got, want) {
		h.t.Fatalf("expired at %d: %v %v, want %v", now, got, err, want)
	}
	if at, ok := h.a.NextAgeDeadline(); ok && len(want) == 0 && at <= now {
		h.t.Fatalf("next deadline %d is not after %d, though nothing has expired", at, now)
	}
}

func (h *history) limits() Limits {
	var l Limits
	if h.rng.IntN(2) == 0 {
		l.MaxMessages = 1 + h.rng.Uint64N(30)
	}
	if h.rng.IntN(2) == 0 {
		l.MaxBytes = 1 + h.rng.Uint64N(4000)
	}
	if h.rng.IntN(2) == 0 {
		l.MaxAge = time.Duration(1+h.rng.IntN(3000)) * time.Millisecond
	}
	return l
}
