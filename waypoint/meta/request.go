package meta

import (
	"encoding/json"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// request is something that somebody waits for. It is answered once; whoever gets no answer in time asks again.
type request struct {
	from, op string
	body     []byte
	reply    func([]byte, error)
	until    time.Time
	answered bool // owned by the reign's goroutine
}

// maxOpen bounds the requests that are worked at.
const maxOpen = 50_000

// handle takes a request from the network.
func (r *reign) handle(from, op string, body []byte, reply func([]byte, error)) {
	q := &request{from: from, op: op, body: body, reply: reply, until: time.Now().Add(r.cfg.RequestFor)}
	r.mu.Lock()
	over, full := r.over || r.open == nil, len(r.open) >= maxOpen
	if !over && !full {
		r.open[q] = struct{}{}
	}
	r.mu.Unlock()
	switch {
	case over:
		reply(nil, &peer.NotLeaderError{})
	case full:
		reply(nil, &peer.UnavailableError{Text: "meta has too many requests to work at"})
	default:
		// What it is told must be true now: so the leadership is confirmed before anything is looked at.
		r.post(func() { r.verified(func() { r.dispatch(q) }) })
	}
}

func (r *reign) finish(q *request, body []byte, err error) {
	if q.answered {
		return
	}
	q.answered = true
	r.mu.Lock()
	delete(r.open, q)
	r.mu.Unlock()
	q.reply(body, err)
}

func (r *reign) answer(q *request, v any) {
	var body []byte
	if v != nil {
		b, err := json.Marshal(v)
		if err != nil {
			r.finish(q, nil, &peer.UnavailableError{Text: err.Error()})
			return
		}
		body = b
	}
	r.finish(q, body, nil)
}

func (r *reign) refuse(q *request, err error) { r.finish(q, nil, err) }

// tickRequests gives up on requests that take too long.
func (r *reign) tickRequests(now time.Time) {
	var late []*request
	r.mu.Lock()
	for q := range r.open {
		if now.After(q.until) {
			late = append(late, q)
		}
	}
	r.mu.Unlock()
	for _, q := range late {
		r.refuse(q, &peer.UnavailableError{Text: q.op + " takes too long; it may still happen"})
	}
	if len(late) == 0 {
		return
	}
	for id, list := range r.parked {
		var left []parked
		for _, p := range list {
			if !p.q.answered {
				left = append(left, p)
			}
		}
		if len(left) == 0 {
			delete(r.parked, id)
		} else {
			r.parked[id] = left
		}
	}
}

// dispatch begins to work at a request.
func (r *reign) dispatch(q *request) {
	switch q.op {
	case peer.OpOpen:
		decode(r, q, r.openSubscription)
	case peer.OpLookup:
		decode(r, q, r.lookup)
	case peer.OpRemove:
		decode(r, q, r.removeSubscription)
	case peer.OpLeave:
		decode(r, q, r.leaveSubscription)
	case peer.OpHeld:
		decode(r, q, func(q *request, in *peer.HeldRequest) {
			r.answer(q, peer.HeldResponse{Ended: r.m.ended(in.Subs)})
		})
	case peer.OpIsolated:
		decode(r, q, r.takeReport)
	case peer.OpHeard:
		decode(r, q, r.hear)
	case opCreate:
		decode(r, q, r.createSubscription)
	case opList:
		decode(r, q, r.listSubscriptions)
	case opSet:
		decode(r, q, r.changeLimits)
	case opDrop:
		decode(r, q, r.drop)
	case opPolicy:
		decode(r, q, r.changePolicy)
	case opWithdraw:
		decode(r, q, r.withdraw)
	case opStatus:
		r.answer(q, r.status())
	default:
		r.refuse(q, refusal(amqp.ErrCondNotImplemented, "meta does not know the operation %q", q.op))
	}
}

func decode[T any](r *reign, q *request, fn func(*request, *T)) {
	in := new(T)
	if err := json.Unmarshal(q.body, in); err != nil {
		r.refuse(q, refusal(amqp.ErrCondDecodeError, "%s: %v", q.op, err))
		return
	}
	fn(q, in)
}
