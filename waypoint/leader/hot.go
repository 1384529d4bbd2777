package leader

import "github.com/posthouse/posthouse/waypoint/shard"

// message is one message on its way to a subscriber, or a place in a topic that is remembered.
type message struct {
	seq     uint64
	time    int64
	before  shard.Totals
	at      shard.Totals
	payload []byte // nil: not in memory
}

// hotOverhead is what a remembered place takes beyond its payload.
const hotOverhead = 96

// hot remembers what was kept lately, of all topics together: payloads where a link may want them, so that a live consumer
// reads no disk, and the places of all, so that a limit finds the oldest message to give up without reading. When it is
// full the oldest goes first.
type hot struct {
	limit int64
	bytes int64
	order ring[*recent] // whose oldest goes next
}

// recent is what is remembered of one topic: all of its messages above base.
type recent struct {
	base uint64
	list ring[message]
}

// push remembers a message, the newest of its topic.
func (h *hot) push(r *recent, m message) {
	r.list.push(m)
	h.order.push(r)
	h.bytes += int64(len(m.payload)) + hotOverhead
	for h.bytes > h.limit && h.order.len() > 0 {
		r := h.order.pop()
		old := r.list.pop()
		r.base = old.seq
		h.bytes -= int64(len(old.payload)) + hotOverhead
	}
}

// covers says whether everything of the topic above seq is remembered.
func (r *recent) covers(seq uint64) bool { return seq >= r.base }

// after is the first remembered message above seq, or nil. It is valid until the next push.
func (r *recent) after(seq uint64) *message {
	return r.firstWhere(seq, func(*message) bool { return true })
}

// at is the remembered message at seq, or nil.
func (r *recent) at(seq uint64) *message {
	if seq == 0 {
		return nil
	}
	if m := r.after(seq - 1); m != nil && m.seq == seq {
		return m
	}
	return nil
}

// firstWhere is the first remembered message above seq for which f, which stays true once it is, holds; nil if there is none.
func (r *recent) firstWhere(seq uint64, f func(*message) bool) *message {
	i := r.list.search(func(m *message) bool { return m.seq > seq && f(m) })
	if i == r.list.len() {
		return nil
	}
	return r.list.at(i)
}
