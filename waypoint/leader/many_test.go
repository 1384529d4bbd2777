package leader

import (
	"fmt"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// TestG06TenThousandSubscriptions has them on one topic with different limits, and a hundred overflow by each policy: what each
// holds and has lost is exact to the message, and the others cost nothing.
func TestG06TenThousandSubscriptions(t *testing.T) {
	const (
		all, each = 10_000, 100
		size      = 100
		published = 2000
	)
	inWorld(t, nil, func(t *testing.T, w *world) {
		bytes := storage.MessageBytes(size)
		var q peer.CursorsRequest
		for i := range uint64(all) {
			l := peer.Limits{MaxMessages: 100_000 + i, MaxBytes: 1<<30 + i, MaxAgeMS: 3_600_000 + i}
			switch {
			case i < each:
				l.MaxMessages = 10 + 15*i // 10 to 1495
			case i < 2*each:
				l.MaxBytes = bytes * (10 + 15*(i-each))
			case i < 3*each:
				l.MaxAgeMS = 20_000 + 100*(i-2*each)
			}
			q.Start = append(q.Start, peer.StartCursor{Sub: i + 1, Address: "news", Owner: "me", Name: fmt.Sprint("s", i+1), Limits: l})
		}
		w.request(peer.OpCursors, q, nil)
		p := w.agent("r1", 1)
		p.hear()
		entries, before := w.raft.count(), w.raft.size()
		for range published / 50 {
			p.publishN("news", 50, size)
		}
		if got := p.hear(); len(got) == 0 {
			t.Fatal("no answers")
		}
		// 10,000 idle subscriptions add nothing to the commands; the 200 that overflow add a range each.
		spent := w.raft.size() - before - published*size
		if n := w.raft.count() - entries; n != published/50 || spent > n*(200*64+50*32) {
			t.Errorf("%d commands of %d bytes beyond the messages", n, spent)
		}
		for i := range uint64(2 * each) {
			keeps := 10 + 15*(i%each)
			cause := shard.CauseMessages
			if i >= each {
				cause = shard.CauseBytes
			}
			w.wantExactly(i+1, published, min(keeps, published), cause)
		}
		w.wantExactly(2*each+1, published, published, shard.CauseAge)
		time.Sleep(25 * time.Second) // half of the aging ones' time is over
		w.settle()
		for i := range uint64(each) {
			keeps := uint64(0)
			if 20_000+100*i > 25_000 {
				keeps = published
			}
			w.wantExactly(2*each+i+1, published, keeps, shard.CauseAge)
		}
		for _, sub := range []uint64{3*each + 1, all / 2, all} {
			w.wantExactly(sub, published, published, 0)
		}
		rejectAmongMany(t, w, p, 3*each, each, published)
		if err := w.machine.Check(); err != nil {
			t.Fatal(err)
		}
	})
}

// wantExactly compares what a subscription holds, and what it is told to have lost, with what it must be.
func (w *world) wantExactly(sub, captured, keeps uint64, cause shard.Cause) {
	w.t.Helper()
	cur := w.cursor(sub)
	lost := captured - keeps
	if cur.Backlog.Messages != keeps || cur.GivenUp.Messages != lost || cur.Gap.Messages != lost {
		w.t.Fatalf("subscription %d keeps %v, has given up %v and tells of %d; want %d and %d", sub, cur.Backlog, cur.GivenUp, cur.Gap.Messages,
			keeps, lost)
	}
	if lost > 0 && (cur.ByCause[cause].Messages != lost || cur.Gap.Causes[cause] != lost || cur.Floor.Seq != lost) {
		w.t.Fatalf("subscription %d: %d lost to %v, floor %d; %s", sub, lost, cause, cur.Floor.Seq, w.causes(sub))
	}
}

// rejectAmongMany gives a hundred of the subscriptions a limit that they have reached: the topic takes no more until the last one
// of them is below its low mark.
func rejectAmongMany(t *testing.T, w *world, p *agent, from, n, published uint64) {
	t.Helper()
	for i := range n {
		w.setLimits(from+i+1, peer.Limits{MaxMessages: published + 10*(i+1), MaxInFlight: 5000, Overflow: peer.OverflowReject})
	}
	p.hear()
	p.publishN("news", 15, 100) // the first one has room for ten
	first := fmt.Sprintf("s%d", from+1)
	p.want(fmt.Sprintf("answers through 2015 refused 2011(limit %[1]s 2010/2010) refused 2012(limit %[1]s 2010/2010) refused 2013(limit %[1]s 2010/2010) "+
		"refused 2014(limit %[1]s 2010/2010) refused 2015(limit %[1]s 2010/2010)", first), fmt.Sprintf("topics refusing news(%s 2010/2010)", first))
	c := w.agent("r2", 1)
	c.attach(from+1, 1, 1<<40)
	d := c.deliveries()
	c.accept(from+1, 1, d[:200]...)
	p.want() // at 1810 of 2010 it is above 90 %
	c.accept(from+1, 1, d[200])
	p.want("topics cleared news")
	// Now the next one comes to its limit.
	p.publishN("news", 15, 100)
	if got := w.cursor(from + 2); got.Backlog.Messages != 2020 {
		t.Fatalf("the second one holds %v", got.Backlog)
	}
	for i := range n {
		cur := w.cursor(from + i + 1)
		if cur.GivenUp.Messages != 0 || cur.Backlog.Messages > cur.Limits.MaxMessages {
			t.Fatalf("subscription %d: %v, given up %v, limits %+v", cur.Sub, cur.Backlog, cur.GivenUp, cur.Limits)
		}
	}
}

// TestG06IdleSubscriptionsCostNothing compares what a publish writes for one subscription and for ten thousand.
func TestG06IdleSubscriptionsCostNothing(t *testing.T) {
	cost := func(n int) (bytes int) {
		inWorld(t, nil, func(t *testing.T, w *world) {
			var q peer.CursorsRequest
			for i := range uint64(n) {
				q.Start = append(q.Start, peer.StartCursor{Sub: i + 1, Address: "news", Limits: peer.Limits{MaxMessages: 1000 + i, MaxAgeMS: 1000_000 + i}})
			}
			w.request(peer.OpCursors, q, nil)
			p := w.agent("r1", 1)
			before := w.raft.size()
			p.publishN("news", 500, 100)
			bytes = w.raft.size() - before
		})
		return bytes
	}
	if one, many := cost(1), cost(10_000); one != many {
		t.Fatalf("500 messages take %d bytes of commands with one subscription, %d with ten thousand", one, many)
	}
}
