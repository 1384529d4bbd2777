package leader

import (
	"testing"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// After a leader change, a read for dispatch that began before the outcomes of held deliveries were applied may end after
// them: what is confirmed must not go out again.
func TestG04ReadCrossesConfirm(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 5)
		p.publish("news", "1", "2", "3", "4", "5", "6", "7", "8")
		d := wantSeqs(t, c, "1 2 3 4 5")
		w.restart()
		c = w.reopen(c)
		c.hear()
		c.attach(sub, 1, 0, held(d...)...)
		c.hear()
		// The two halves of readNew, with time in between.
		var id uint64
		var list []message
		var head uint64
		w.server.post(func(r *reign) {
			cur := r.cursors[sub]
			id = r.beginRead(cur)
			head = cur.topic.head
			list, _, _ = readPending(r.m, sub, max(cur.next, cur.scanned)+1, 64)
		})
		w.settle()
		c.accept(sub, 1, d...)
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 10})
		c.hear()
		w.server.post(func(r *reign) {
			cur := r.cursors[sub]
			r.readDone(cur, id, nil, func() { r.gotAhead(cur, list, head) })
		})
		got := c.deliveries()
		if s := seqs(got); s != "6! 7! 8!" {
			t.Errorf("got %s, want only what is new", s)
		}
	})
}
