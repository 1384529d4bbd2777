package meta

import (
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// work is what the leader does for subscriptions, one step after the other:
//
//	creating:  cursor at its start position (shard) -> captured (meta) -> every lease at that epoch -> active (meta)
//	removing:  not captured (meta) -> every lease at that epoch -> cursor ended (shard) -> gone (meta)
//
// Each step can be done again without harm, and what comes next is read from the state, so a new leader goes on where the last
// one was. What is `creating` is always finished, whether or not anybody still waits for it: an attach that was sent and not
// answered may have worked, and its sender finds the subscription when it asks again. It is undone only if the shard refuses
// it, or somebody removes it.
type work struct {
	tasks   map[uint64]*task
	errands map[uint32]*errands
	parked  map[uint64][]parked
	refused map[uint64]*peer.Error // by the shard: told to who waits for a subscription that can't be
	begun   map[uint64]time.Time   // when this leader saw subscriptions made, for the metric
	expires map[uint64]struct{}    // being expired
}

// task is a step of a subscription that is under way.
type task struct{ busy bool }

func (r *reign) beginWork() {
	r.tasks, r.errands, r.parked = map[uint64]*task{}, map[uint32]*errands{}, map[uint64][]parked{}
	r.refused, r.begun = map[uint64]*peer.Error{}, map[uint64]time.Time{}
	r.expires = map[uint64]struct{}{}
}

// advance takes the next step of a subscription, unless one is under way, and then lets those who wait for it look again.
func (r *reign) advance(id uint64) {
	s := r.m.sub(id)
	if s == nil {
		delete(r.tasks, id)
		delete(r.begun, id)
		r.unpark(id)
		delete(r.refused, id)
		return
	}
	t := r.tasks[id]
	if t == nil {
		t = &task{}
		r.tasks[id] = t
	}
	if t.busy {
		return
	}
	switch {
	case s.State == Creating && !s.Captured:
		r.startCursor(t, s)
	case s.State == Creating:
		r.whenAll(t, s, func() { r.step(t, id, &activate{id}) })
	case s.State == Active && s.LimitsKept != s.LimitsVersion:
		r.sendLimits(t, s)
	case s.State == Active:
		delete(r.tasks, id)
		r.observeActive(s)
		if s.Replaces != 0 && r.m.sub(s.Replaces) != nil {
			r.advance(s.Replaces)
		}
	case s.Captured:
		r.step(t, id, &uncapture{id})
	default:
		r.whenAll(t, s, func() { r.endCursor(t, s) })
	}
	r.unpark(id)
}

// step commits one operation and goes on.
func (r *reign) step(t *task, id uint64, o op) {
	t.busy = true
	r.do(o, func(Outcome) {
		t.busy = false
		r.advance(id)
	})
}

// whenAll has fn called when the epoch that the subscription needs is confirmed, and it is still the same then.
func (r *reign) whenAll(t *task, s *Subscription, fn func()) {
	if s.Epoch <= r.confirmedByAll() {
		fn()
		return
	}
	t.busy = true
	r.whenConfirmed(s.Epoch, func() {
		t.busy = false
		r.advance(s.ID) // from the state as it is then
	})
}

func (r *reign) startCursor(t *task, s *Subscription) {
	version := s.LimitsVersion
	start := peer.StartCursor{Sub: s.ID, Address: s.Address, Owner: s.Identity.Owner, Name: s.Name(), Limits: s.Limits}
	r.errand(t, s, errand{start: &start, done: func(refusal *peer.Error) {
		if refusal != nil {
			r.log.Warn("a shard refuses a new subscription", "subscription", s.Name(), "id", s.ID, "error", refusal)
			r.refused[s.ID] = refusal
			r.step(t, s.ID, &remove{id: s.ID, reason: "refused by the shard: " + refusal.Error()})
			return
		}
		r.step(t, s.ID, &capture{s.ID, version})
	}})
}

func (r *reign) sendLimits(t *task, s *Subscription) {
	version := s.LimitsVersion
	r.errand(t, s, errand{limits: &peer.CursorLimits{Sub: s.ID, Limits: s.Limits}, done: func(refusal *peer.Error) {
		if refusal != nil {
			// They were held against the policy before, so this is a disagreement between versions. Asking for ever would not
			// settle it.
			r.log.Error("a shard refuses limits", "subscription", s.Name(), "id", s.ID, "error", refusal)
		}
		r.step(t, s.ID, &limitsKept{s.ID, version})
	}})
}

func (r *reign) endCursor(t *task, s *Subscription) {
	r.errand(t, s, errand{end: s.ID, done: func(*peer.Error) { r.step(t, s.ID, &deleteSub{s.ID}) }})
}

func (r *reign) errand(t *task, s *Subscription, e errand) {
	t.busy = true
	done := e.done
	e.done = func(refusal *peer.Error) {
		t.busy = false
		done(refusal)
	}
	r.errandsOf(r.m.shard(s.Address)).add(e)
}

func (r *reign) observeActive(s *Subscription) {
	if began, ok := r.begun[s.ID]; ok {
		delete(r.begun, s.ID)
		r.met.activation.Observe(time.Since(began).Seconds())
		r.log.Info("a durable subscription is active", "subscription", s.Name(), "id", s.ID, "address", s.Address, "owner", s.Identity.Owner)
	}
}

// parked waits for a subscription to take a step.
type parked struct {
	q     *request
	again func()
}

// park has again called when the subscription has taken a step, if the request is not answered by then.
func (r *reign) park(id uint64, q *request, again func()) {
	r.parked[id] = append(r.parked[id], parked{q, again})
}

func (r *reign) unpark(id uint64) {
	list := r.parked[id]
	if len(list) == 0 {
		return
	}
	delete(r.parked, id)
	for _, p := range list {
		if !p.q.answered {
			p.again()
		}
	}
}

// tellRemoved tells the link of a subscription that is being removed.
func (r *reign) tellRemoved(id uint64, out Outcome, reason string) {
	if out.Before != (Holder{}) {
		r.notice(out.Before, id, out.Gen, amqp.ErrCondResourceDeleted, reason)
	}
}
