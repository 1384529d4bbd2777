package leader

import (
	"time"

	"github.com/posthouse/posthouse/waypoint/shard"
)

// freeing is a topic of which something may be deleted.
type freeing struct {
	id       uint64
	bytes    uint64    // what could go at its old end when that was last looked at
	since    time.Time // it changed last
	inside   time.Time // its inside was last looked at
	deleting bool      // a trim is in the command in flight or waits for one
}

// trimsAtOnce bounds the ranges of one command.
const trimsAtOnce = 64

// insideEvery bounds how often the cursors of one topic are gone through for what none of them needs.
const insideEvery = 5 * time.Second

// freed notes that something of a subscription's backlog was settled.
func (r *reign) freed(sub uint64) {
	if cur, ok := r.m.Cursor(sub); ok {
		r.freedIn(cur.Address, cur.Topic)
	}
}

func (r *reign) freedIn(address string, id uint64) {
	f := r.freeing[address]
	if f == nil || f.id != id {
		f = &freeing{id: id, since: r.now, inside: r.now}
		r.freeing[address] = f
	}
}

// lookForTrims finds what may be deleted: at a topic's old end when it is much, or when no more comes; and inside a topic that
// holds more than twice what its cursors need, so that one old message does not pin the disk.
func (r *reign) lookForTrims() {
	for address, f := range r.freeing {
		if len(r.trims) >= trimsAtOnce {
			return
		}
		st, ok := r.m.Topic(address)
		if !ok || st.ID != f.id {
			delete(r.freeing, address)
			continue
		}
		if f.deleting {
			continue
		}
		front, some := r.m.TrimmableFront(f.id)
		bytes := front.Totals().Bytes
		if bytes != f.bytes {
			f.bytes, f.since = bytes, r.now
		}
		idle := r.now.Sub(f.since) >= r.l.cfg.TrimIdle
		if some && (idle || bytes >= uint64(r.l.cfg.TrimBytes)) {
			r.addTrim(f, front)
			continue
		}
		if !idle && r.now.Sub(f.inside) < insideEvery {
			continue
		}
		f.inside = r.now
		if r.holdsTooMuch(st) {
			for _, x := range r.m.Trimmable(f.id) {
				if len(r.trims) < trimsAtOnce {
					r.addTrim(f, x)
				}
			}
		}
		if idle && !f.deleting {
			delete(r.freeing, address) // nothing to do before something else is settled
		}
	}
}

// holdsTooMuch says whether a topic holds more than twice the bytes of its cursors' backlogs.
func (r *reign) holdsTooMuch(st shard.Topic) bool {
	needed := uint64(0)
	for _, sub := range r.m.Subscribers(st.Address) {
		b, _ := r.m.Backlog(sub)
		if needed += b.Bytes; 2*needed >= st.Kept.Bytes {
			return false
		}
	}
	return st.Kept.Bytes > 0
}

func (r *reign) addTrim(f *freeing, x shard.Range) {
	f.deleting = true
	r.trims = append(r.trims, shard.Trim{Topic: f.id, Range: x})
}

// takeTrims adds to the command what is to be deleted. A later command may do it as well as this one, so it never waits.
func (r *reign) takeTrims(t *turn) {
	t.cmd.Trim = append(t.cmd.Trim, r.trims...)
	r.trims = r.trims[:0]
}

func (r *reign) trimsApplied(t *turn, res *shard.Result) {
	if len(t.cmd.Trim) == 0 {
		return
	}
	r.l.metrics.trimmed.Add(float64(res.Trimmed.Bytes))
	done := map[uint64]bool{}
	for _, x := range t.cmd.Trim {
		done[x.Topic] = true
	}
	for _, f := range r.freeing {
		if done[f.id] {
			f.deleting, f.since = false, r.now
		}
	}
}
