package leader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

func (w *world) topicOf(address string) shard.Topic {
	w.t.Helper()
	topic, ok := w.machine.Topic(address)
	if !ok {
		w.t.Fatalf("no topic %s", address)
	}
	return topic
}

// TestTrimAtTheFloor deletes what everybody has confirmed: merged while it goes on, and to the last byte when idle.
func TestTrimAtTheFloor(t *testing.T) {
	inWorld(t, func(c *Config) { c.TrimBytes = 1 << 20 }, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxInFlight: 100_000})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 1<<40)
		trims, most := 0, uint64(0)
		for range 100 {
			p.publishN("news", 100, 1000)
			c.accept(sub, 1, c.deliveries()...)
			time.Sleep(100 * time.Millisecond)
			w.settle()
			most = max(most, w.topicOf("news").Kept.Bytes)
		}
		for _, e := range w.raft.all() {
			trims += len(e.Trim)
		}
		if most > 2<<20 || trims > 12 || trims < 5 {
			t.Errorf("at most %d bytes were kept, with %d trims for 10 MB", most, trims)
		}
		time.Sleep(5 * time.Second)
		w.settle()
		if kept := w.topicOf("news").Kept; kept.Messages != 0 {
			t.Errorf("idle, and %v are kept", kept)
		}
		entries := w.raft.count()
		time.Sleep(time.Minute)
		w.settle()
		if n := w.raft.count() - entries; n > 0 {
			t.Errorf("%d entries while nothing happens", n)
		}
	})
}

// TestTrimInside has one stuck delivery at the front: it pins itself, not the disk.
func TestTrimInside(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		stuck, other := w.start("news", peer.Limits{MaxInFlight: 5000}), w.start("news", peer.Limits{MaxInFlight: 5000})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(stuck, 1, 1<<40)
		c.attach(other, 1, 1<<40)
		p.publishN("news", 1000, 1000)
		var mine, others []peer.Deliver
		for _, d := range c.deliveries() {
			if d.Sub == stuck {
				mine = append(mine, d)
			} else {
				others = append(others, d)
			}
		}
		c.accept(other, 1, others...)
		c.accept(stuck, 1, mine[1:]...)
		time.Sleep(10 * time.Second)
		w.settle()
		if kept := w.topicOf("news").Kept; kept.Messages != 1 {
			t.Fatalf("%v are kept for one message", kept)
		}
		w.wantPending(stuck, []uint64{1})
		// It can still be had, and limits still count.
		w.restart()
		p, c = w.reopen(p), w.reopen(c)
		c.attach(stuck, 2, 1)
		wantSeqs(t, c, "1!")
		p.publishN("news", 10, 10)
		w.setLimits(stuck, peer.Limits{MaxMessages: 5, MaxInFlight: 1})
		w.wantPending(stuck, []uint64{1, 1007, 1008, 1009, 1010})
	})
}

// TestTrimWhatWasGivenUp shrinks the disk with no consumer and no publish, by age.
func TestTrimWhatWasGivenUp(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.start("news", peer.Limits{MaxAgeMS: 60_000})
		p := w.agent("r1", 1)
		p.publishN("news", 500, 1000)
		time.Sleep(2 * time.Minute)
		w.settle()
		if kept := w.topicOf("news").Kept; kept.Messages != 0 {
			t.Fatalf("%v are kept", kept)
		}
	})
}

// registry is meta's word on subscriptions.
type registry struct {
	mu    sync.Mutex
	ended []uint64
	fail  int
	asked [][]uint64
}

func (g *registry) Ended(_ context.Context, subs []uint64) ([]uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, subs)
	if g.fail > 0 {
		g.fail--
		return nil, errors.New("no leader")
	}
	return g.ended, nil
}

func (g *registry) all() [][]uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.asked)
}

// TestAuditDropsWhatMetaHasEnded once per reign, and again after a while.
func TestAuditDropsWhatMetaHasEnded(t *testing.T) {
	g := &registry{}
	inWorld(t, func(c *Config) { c.Registry = g }, func(t *testing.T, w *world) {
		a, b := w.start("news", peer.Limits{}), w.start("old", peer.Limits{})
		g.mu.Lock()
		g.ended, g.fail = []uint64{b, 77}, 3
		g.mu.Unlock()
		w.restart()
		time.Sleep(10 * time.Second)
		w.settle()
		if _, ok := w.machine.Cursor(b); ok {
			t.Error("a cursor of a subscription that is over is still there")
		}
		if _, ok := w.machine.Topic("old"); ok {
			t.Error("so is its topic")
		}
		if _, ok := w.machine.Cursor(a); !ok {
			t.Error("one that lives is gone")
		}
		if asked := g.all(); len(asked) != 4 || !slices.Equal(asked[0], []uint64{a, b}) {
			t.Errorf("asked %v", asked)
		}
		time.Sleep(6 * time.Minute)
		w.settle()
		if asked := g.all(); len(asked) != 5 {
			t.Errorf("asked %d times", len(asked))
		}
	})
}

// TestStats are only told by a leader that a majority confirms.
func TestStats(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxMessages: 50, MaxInFlight: 4})
		w.start("other", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 3, 2)
		p.publishN("news", 60, 100)
		d := c.deliveries()
		c.accept(sub, 3, d[0])
		c.outcome(sub, 3, peer.Rejected, 0, d[1])
		time.Sleep(30 * time.Second)
		var out peer.StatsResponse
		w.request(peer.OpStats, peer.StatsRequest{}, &out)
		if len(out.Stats) != 2 {
			t.Fatalf("stats %+v", out)
		}
		s := out.Stats[0]
		if s.Messages != 48 || s.Captured != 60 || s.Confirmed != 1 || s.GivenUp != 11 || s.Causes["max-messages"] != 10 ||
			s.Causes["rejected"] != 1 || s.OldestMS != 30_000 || s.InFlight != 0 || s.Router != "r2" || s.Head != 60 || s.Floor != 12 {
			t.Errorf("stats %+v", s)
		}
		if s.Pinned != 48*164 {
			t.Errorf("%d bytes pinned", s.Pinned)
		}
		w.raft.set(func(f *fakeRaft) { f.verify = errors.New("no majority") })
		if err := w.tryRequest(peer.OpStats, peer.StatsRequest{Subs: []uint64{sub}}, nil); err == nil {
			t.Error("told by a leader that nobody confirms")
		} else if _, ok := err.(*peer.UnavailableError); !ok {
			t.Errorf("%v", err)
		}
		w.raft.set(func(f *fakeRaft) { f.verify = nil })
		w.request(peer.OpStats, peer.StatsRequest{Subs: []uint64{sub, 99}}, &out)
		if got := fmt.Sprint(len(out.Stats)); got != "1" {
			t.Errorf("%s found", got)
		}
	})
}
