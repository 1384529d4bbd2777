package leader

import (
	"encoding/json"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// request is a request that was read, and who waits for its answer.
type request struct {
	cursors *peer.CursorsRequest
	stats   *peer.StatsRequest
	reply   func(body []byte, err error)
	starts  int // its first Start in the command
}

// decodeRequest reads a request's body; the error is a *peer.Error.
func decodeRequest(op string, body []byte) (*request, error) {
	q := &request{}
	var into any
	switch op {
	case peer.OpCursors:
		q.cursors = new(peer.CursorsRequest)
		into = q.cursors
	case peer.OpStats:
		q.stats = new(peer.StatsRequest)
		into = q.stats
	default:
		return nil, peer.Errorf("amqp:not-implemented", "a shard's leader knows no request %q", op)
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, into); err != nil {
			return nil, peer.Errorf("amqp:decode-error", "request %q: %v", op, err)
		}
	}
	return q, nil
}

// request takes a request: what changes something waits for a turn.
func (r *reign) request(q *request, reply func(body []byte, err error)) {
	q.reply = reply
	if q.stats != nil {
		r.answerStats(q)
		return
	}
	r.requests = append(r.requests, q)
}

// takeRequests adds to the command what is asked for.
func (r *reign) takeRequests(t *turn) {
	for _, q := range r.requests {
		q.starts = len(t.cmd.Start)
		for _, s := range q.cursors.Start {
			t.cmd.Start = append(t.cmd.Start, shard.Start{
				Sub: s.Sub, Address: s.Address, Limits: toShardLimits(s.Limits), Owner: s.Owner, Name: s.Name})
		}
		t.cmd.End = append(t.cmd.End, q.cursors.End...)
		for _, x := range q.cursors.Limits {
			t.cmd.Limits = append(t.cmd.Limits, shard.SetLimits{Sub: x.Sub, Limits: toShardLimits(x.Limits)})
		}
		t.requests = append(t.requests, q)
	}
	clear(r.requests)
	r.requests = r.requests[:0]
	t.cmd.End = append(t.cmd.End, r.ends...)
	r.ends = r.ends[:0]
	t.endsAt = r.addressesOf(t.cmd.End)
}

// addressesOf lists the topics of subscriptions.
func (r *reign) addressesOf(subs []uint64) (list []shard.Cursor) {
	for _, sub := range subs {
		if cur, ok := r.m.Cursor(sub); ok {
			list = append(list, cur)
		}
	}
	return list
}

// requestsApplied answers requests, ends the links of cursors that are gone and has changed limits act.
func (r *reign) requestsApplied(t *turn, res *shard.Result) {
	for _, cur := range t.endsAt {
		r.cursorEnded(cur)
	}
	for _, x := range t.cmd.Limits {
		if cur, ok := r.m.Cursor(x.Sub); ok {
			r.recheck = append(r.recheck, cur.Address)
			if c := r.cursors[x.Sub]; c != nil {
				c.limits = cur.Limits
				r.changed(c)
				r.wake(c)
			}
		}
	}
	for _, q := range t.requests {
		var out peer.CursorsResponse
		for i := range q.cursors.Start {
			if s := res.Started[q.starts+i]; s.Refused {
				out.Refused = append(out.Refused, peer.CursorRefused{Sub: s.Sub, Error: *peer.Errorf("amqp:precondition-failed",
					"subscription %d has a cursor on another address, or was given none", s.Sub)})
			}
		}
		answer(q.reply, out)
	}
}

// cursorEnded takes away what there is of a cursor that is gone.
func (r *reign) cursorEnded(cur shard.Cursor) {
	if c := r.cursors[cur.Sub]; c != nil {
		if c.link != nil {
			r.finish(c.link, condDeleted, "the subscription was removed")
		}
		r.dropReads(c)
		delete(r.cursors, cur.Sub)
	}
	r.dropTopic(cur.Address)
	r.freedIn(cur.Address, cur.Topic)
}

func answer(reply func([]byte, error), v any) {
	body, err := json.Marshal(v)
	reply(body, err)
}
