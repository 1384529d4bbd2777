package leader

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// TestFindAgainstWalking looks for all kinds of goals in a topic whose messages lie far apart, in memory and on disk, and compares
// with a walk over all of them.
func TestFindAgainstWalking(t *testing.T) {
	inWorld(t, func(c *Config) { c.HotBytes = 100 * hotOverhead }, func(t *testing.T, w *world) {
		rnd := rand.New(rand.NewPCG(5, 6))
		w.start("news", peer.Limits{})
		w.start("noise", peer.Limits{})
		p := w.agent("r1", 1)
		for range 60 {
			p.publishN("noise", rnd.IntN(30), 10)
			p.publishN("news", rnd.IntN(20), rnd.IntN(200))
			time.Sleep(time.Duration(rnd.IntN(100)) * time.Millisecond)
		}
		topic := w.topicOf("news")
		var all []message
		walk, err := w.machine.Messages(topic.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		for walk.Next() {
			m := walk.Message()
			all = append(all, message{seq: m.Seq, time: m.Time, before: m.Before, at: m.At})
		}
		if err := walk.Close(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		w.leader.box.put(func() {
			defer close(done)
			r := w.leader.reign
			for range 3000 {
				clear(r.found)
				from := all[rnd.IntN(len(all))]
				x := shard.Range{From: from.seq - uint64(rnd.IntN(2)), Through: topic.Head.Seq, Before: from.before, At: topic.Head.Totals}
				to := all[rnd.IntN(len(all))]
				g := [...]goal{{messages: to.at.Messages}, {bytes: to.at.Bytes - 1}, {younger: to.time - 1}, {beyond: to.seq},
					{messages: to.at.Messages, bytes: from.at.Bytes + 3000}}[rnd.IntN(5)]
				f := &finder{r: r, topic: topic.ID, applied: topic.Head.Seq}
				if rnd.IntN(2) == 0 {
					f.recent = r.recentOf("news")
				}
				got, ok := f.first(x, g)
				want, is := message{}, false
				for i := range all {
					if all[i].seq >= x.From && g.met(&all[i]) {
						want, is = all[i], true
						break
					}
				}
				if ok != is || got.seq != want.seq || got.before != want.before || got.at != want.at {
					t.Errorf("from %d, %+v: found %+v (%v), want %+v (%v)", x.From, g, got, ok, want, is)
					return
				}
			}
		})
		<-done
	})
}
