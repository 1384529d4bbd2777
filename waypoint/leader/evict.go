package leader

import (
	"cmp"
	"slices"

	"github.com/posthouse/posthouse/waypoint/shard"
)

// eviction finds what one subscription gives up in a command.
type eviction struct {
	r    *reign
	cur  shard.Cursor
	c    *cursor // nil: nobody attached in this reign
	plan *plan
	look finder

	// What an earlier leader's link may hold is not known before it attaches again. Up to here what is given up may have been
	// processed.
	unsure uint64

	free []shard.Range // not settled and not in flight, in order; each holds something
	out  []shard.GiveUp
}

// newEviction looks at a subscription's backlog up to end, less what the command does to it already. kept is what the
// command itself adds to the topic.
func (r *reign) newEviction(t *turn, cur shard.Cursor, end shard.Position, kept []message) *eviction {
	e := &eviction{r: r, cur: cur, c: r.cursors[cur.Sub], plan: t.plan(cur.Sub)}
	e.look = finder{r: r, topic: cur.Topic, recent: r.recentOf(cur.Address), kept: kept, applied: end.Seq}
	if len(kept) > 0 {
		e.look.applied = kept[0].seq - 1
	}
	if len(cur.Holders) > 0 && (e.c == nil || !e.c.resumed) {
		e.unsure = min(cur.Mark, r.last)
	}
	at := cur.Floor
	for _, x := range e.taken() {
		if x.Through > at.Seq {
			e.addFree(at, x.From-1, x.Before)
			at = shard.Position{Seq: x.Through, Totals: x.At}
		}
	}
	e.addFree(at, end.Seq, end.Totals)
	return e
}

// taken is what is not free, in order: settled, in flight, or given up by this command.
func (e *eviction) taken() []shard.Range {
	list := slices.Clone(e.plan.given)
	if e.cur.Ranges > 0 {
		for _, s := range e.r.m.Ranges(e.cur.Sub) {
			list = append(list, s.Range)
		}
	}
	if e.c != nil {
		e.c.flight.each(func(it *item) {
			if it.stage != waiting && it.stage != parked {
				list = append(list, it.rng())
			}
		})
	}
	slices.SortFunc(list, func(a, b shard.Range) int { return cmp.Compare(a.From, b.From) })
	return list
}

// addFree adds what lies behind a position and up to another, if anything does.
func (e *eviction) addFree(after shard.Position, through uint64, at shard.Totals) {
	if at.Messages > after.Totals.Messages {
		e.free = append(e.free, shard.Range{From: after.Seq + 1, Through: through, Before: after.Totals, At: at})
	}
}

// take gives up the oldest for a cause until that much is given up: what is in flight last. It returns how much it was.
func (e *eviction) take(cause shard.Cause, need shard.Totals) (taken shard.Totals) {
	enough := func(t shard.Totals) bool { return t.Messages >= need.Messages && t.Bytes >= need.Bytes }
	for len(e.free) > 0 && !enough(taken) {
		x := e.free[0]
		if enough(taken.Add(x.Totals())) {
			want := x.Before.Add(need)
			to := goal{messages: want.Messages - min(taken.Messages, want.Messages), bytes: want.Bytes - min(taken.Bytes, want.Bytes)}
			m, ok := e.look.first(x, to)
			if !ok {
				return taken
			}
			x.Through, x.At = m.seq, m.at
		}
		taken = taken.Add(x.Totals())
		e.giveFront(cause, x)
	}
	e.eachInFlight(func(it *item) {
		if !enough(taken) {
			taken = taken.Add(it.rng().Totals())
			e.give(shard.CauseInFlight, it.rng())
		}
	})
	return taken
}

// takeOlder gives up what is not younger than cutoff.
func (e *eviction) takeOlder(cutoff int64) {
	for len(e.free) > 0 {
		x := e.free[0]
		m, ok := e.look.first(x, goal{younger: cutoff})
		if ok {
			x.Through, x.At = m.seq-1, m.before
		}
		if x.At.Messages > x.Before.Messages {
			e.giveFront(shard.CauseAge, x)
		}
		if ok || e.look.failed {
			break
		}
	}
	e.eachInFlight(func(it *item) {
		if it.time <= cutoff {
			e.give(shard.CauseInFlight, it.rng())
		}
	})
}

// eachInFlight calls fn for what a router holds and this command does not settle, in order.
func (e *eviction) eachInFlight(fn func(*item)) {
	if e.c == nil {
		return
	}
	e.c.flight.each(func(it *item) {
		given := slices.ContainsFunc(e.plan.given, func(x shard.Range) bool { return x.From <= it.seq && it.seq <= x.Through })
		if it.stage == sent && !given {
			fn(it)
		}
	})
}

// giveFront gives up x, which begins the first free stretch.
func (e *eviction) giveFront(cause shard.Cause, x shard.Range) {
	first := &e.free[0]
	if x.Through >= first.Through {
		e.free = e.free[1:]
	} else {
		first.From, first.Before = x.Through+1, x.At
	}
	e.plan.through = max(e.plan.through, x.Through)
	if x.From <= e.unsure {
		sure := x
		if x.Through > e.unsure {
			if m, ok := e.look.first(x, goal{beyond: e.unsure}); ok {
				x.Through, x.At = m.seq-1, m.before
			}
		}
		e.give(shard.CauseInFlight, x)
		sure.From, sure.Before = x.Through+1, x.At
		x = sure
	}
	e.give(cause, x)
}

// give gives up a range, if it holds anything.
func (e *eviction) give(cause shard.Cause, x shard.Range) {
	if x.At.Messages == x.Before.Messages {
		return
	}
	e.plan.given = append(e.plan.given, x)
	e.plan.settled = e.plan.settled.Add(x.Totals())
	for i := range e.out {
		if e.out[i].Cause == cause {
			e.out[i].Ranges = appendRange(e.out[i].Ranges, x)
			return
		}
	}
	e.out = append(e.out, shard.GiveUp{Sub: e.cur.Sub, Cause: cause, Ranges: []shard.Range{x}})
}

// finish returns what the command has to say.
func (e *eviction) finish() []shard.GiveUp {
	return e.out
}
