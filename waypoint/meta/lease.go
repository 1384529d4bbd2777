package meta

import (
	"math"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// leases is what the leader knows of routers. The rules, each with what would go wrong without it:
//
//   - A router counts its lease from sending the renewal, the leader from receiving it (and some slack longer): so the
//     leader never takes a lease as over that the router still trusts in.
//   - A lease is granted only after a majority has confirmed the leadership since the renewal came: so a leader that was
//     deposed meanwhile grants none that its successor does not know of; the successor takes every registered router as
//     having one from its own beginning on.
//   - The first lease is granted only at the newest epoch: activations did not count this router before. It is registered by
//     an entry before that, and not before it has confirmed the newest epoch either: who comes and then says nothing holds
//     up nobody.
//   - No renewal for a router that has not confirmed an epoch that is older than a lease: so an activation waits for at most
//     two.
//   - That a lease has run out is committed before anything becomes active without the router: so whoever leads knows who
//     may have let something through.
type leases struct {
	seats    map[Holder]*seat
	sessions map[*peer.Session]*seat
	epochs   []epochAt // newest last: when this leader has seen them
	waits    []epochWait
}

// seat is one incarnation of a router.
type seat struct {
	holder  Holder
	session *peer.Session // nil: none
	// counted: activations wait for it: it is registered, and not lost, by what is applied.
	counted bool
	leased  bool      // it may have had a lease since it was registered
	until   time.Time // it may have one until then
	losing  bool      // that it has run out is being committed: it gets no other before

	registering bool // that is being committed
	confirmed   uint64
	base        uint64 // the epoch that the session's router is at, with what was sent to it
	knowsBase   bool   // its first Renew has come
}

type epochAt struct {
	epoch uint64
	at    time.Time
}

type epochWait struct {
	epoch uint64
	fn    func()
}

func (r *reign) beginLeases() {
	r.seats, r.sessions = map[Holder]*seat{}, map[*peer.Session]*seat{}
	r.epochs = []epochAt{{r.m.Epoch(), r.began}}
	for _, known := range r.m.Routers() {
		if known.Lost == 0 {
			r.seats[known.Holder()] = &seat{holder: known.Holder(), counted: true, leased: true, until: r.leaseFrom(r.began)}
		}
	}
}

// leaseFrom is until when a router may have a lease whose renewal came at a time.
func (r *reign) leaseFrom(at time.Time) time.Time { return at.Add(r.cfg.Lease + r.cfg.LeaseSlack) }

// hello takes a new session of a router's agent.
func (r *reign) hello(s *peer.Session, hello *peer.Hello) {
	if hello.Term > r.term {
		s.Refuse("")
		return
	}
	h := Holder{Router: hello.Router, Boot: hello.Boot}
	if h.Router == "" || h.Router != s.Node() {
		r.log.Error("an agent names itself as another node", "node", s.Node(), "router", h.Router)
		s.Close("the router is not that node's")
		return
	}
	t := r.seats[h]
	if t == nil {
		t = &seat{holder: h}
		r.seats[h] = t
	}
	if t.session != nil {
		delete(r.sessions, t.session)
		t.session.Close("opened again")
	}
	t.session, t.base, t.knowsBase = s, 0, false
	r.sessions[s] = t
	s.Send(&peer.Welcome{Term: r.term})
	s.Flush()
	for _, sub := range r.m.missedAt(h) { // what was told by another leader may not have come
		r.tellMissed(sub)
	}
}

func (r *reign) closed(s *peer.Session) {
	if t := r.sessions[s]; t != nil {
		delete(r.sessions, s)
		t.session, t.knowsBase = nil, false
	}
}

func (r *reign) receive(s *peer.Session, m peer.Message, at time.Time) {
	t := r.sessions[s]
	renew, ok := m.(*peer.Renew)
	if t == nil || !ok {
		return
	}
	if renew.Confirmed > r.m.Epoch() {
		// Another leader has told it so. This one will learn that it is deposed; until then it has nothing to say.
		r.unseat(t, "confirmed an epoch that is not known here")
		return
	}
	t.confirmed = max(t.confirmed, renew.Confirmed)
	if !t.knowsBase || renew.Confirmed == 0 { // 0 also asks for everything anew
		t.base, t.knowsBase = renew.Confirmed, true
	}
	answer := func() {
		r.verified(func() {
			if t.session == s {
				r.grant(t, renew.ID, at)
			}
		})
	}
	switch {
	case t.counted && !t.losing:
		answer()
	case t.confirmed < r.m.Epoch():
		r.tell(t, renew.ID, 0)
	case !t.registering:
		r.register(t, answer)
	}
}

// register counts a router from here on. It has no lease yet, and a little time to get one: nothing becomes active without
// it in that time, so that nobody is isolated for coming a moment too late.
func (r *reign) register(t *seat, answer func()) {
	t.registering = true
	// Behind a `lost` that is on its way, if there is one: it begins anew.
	r.do(&register{t.holder}, func(Outcome) {
		t.counted, t.leased, t.losing, t.registering, t.until = true, false, false, false, r.leaseFrom(time.Now())
		r.seats[t.holder] = t
		answer()
	})
}

func (r *reign) unseat(t *seat, reason string) {
	if t.session != nil {
		delete(r.sessions, t.session)
		t.session.Close(reason)
		t.session, t.knowsBase = nil, false
	}
}

// grant answers a renewal that came at a time, after a majority has confirmed the leadership.
func (r *reign) grant(t *seat, id uint64, at time.Time) {
	if t.losing || !t.counted {
		return
	}
	needed := r.m.Epoch()
	if t.leased {
		needed = r.epochBefore(at.Add(-r.cfg.Lease))
	}
	var millis uint32
	if t.confirmed >= needed {
		t.leased = true
		if until := r.leaseFrom(at); until.After(t.until) {
			t.until = until
		}
		millis = uint32(r.cfg.Lease / time.Millisecond)
		r.met.leases.Inc()
	} else {
		r.met.withheld.Inc()
	}
	r.tell(t, id, millis)
}

// tell sends a router the epoch, what it does not know yet, and perhaps a lease.
func (r *reign) tell(t *seat, id uint64, millis uint32) {
	d := r.m.since(t.base)
	since := t.base
	if d.full {
		since = 0
	}
	for {
		l := &peer.Lease{Epoch: d.epoch, Full: d.full, Since: since}
		l.Add, d.add = split(d.add, peer.LeaseItems)
		l.Del, d.del = split(d.del, peer.LeaseItems-len(l.Add))
		l.More = len(d.add)+len(d.del) > 0
		if !l.More {
			// All of it takes effect with the last one, and so does the lease.
			l.ID, l.Millis, l.Policy = id, millis, d.policy
			if d.full {
				slots := r.m.Slots()
				l.Slots = slots[:]
			}
		}
		t.session.Send(l)
		if !l.More {
			break
		}
	}
	t.base = d.epoch
	t.session.Flush()
}

func split(list []string, n int) (head, tail []string) {
	n = min(n, len(list))
	return list[:n:n], list[n:]
}

// noteEpoch tells all routers of a new epoch at once: an activation with all nodes healthy waits for nobody's renewal.
func (r *reign) noteEpoch(epoch uint64) {
	if epoch <= r.epochs[len(r.epochs)-1].epoch {
		return
	}
	now := time.Now()
	r.epochs = append(r.epochs, epochAt{epoch, now})
	// Those but the last that are older than a lease say nothing more.
	for len(r.epochs) > 1 && now.Sub(r.epochs[1].at) > 2*r.cfg.Lease {
		r.epochs = r.epochs[1:]
	}
	for _, t := range r.sessions {
		if t.knowsBase && t.base < epoch {
			r.tell(t, 0, 0)
		}
	}
}

// epochBefore is the newest epoch that was there at a time; 0 if none of this leader's was.
func (r *reign) epochBefore(at time.Time) uint64 {
	for i := len(r.epochs) - 1; i >= 0; i-- {
		if !r.epochs[i].at.After(at) {
			return r.epochs[i].epoch
		}
	}
	return 0
}

// endLeases commits that leases have run out. It says when the next one will.
func (r *reign) endLeases(now time.Time) (next time.Time) {
	for h, t := range r.seats {
		switch {
		case !t.counted || t.losing:
			if !t.counted && !t.registering && t.session == nil {
				delete(r.seats, h)
			}
		case !t.until.After(now):
			r.lose(t)
		case next.IsZero() || t.until.Before(next):
			next = t.until
		}
	}
	return next
}

func (r *reign) lose(t *seat) {
	t.losing = true
	s := t.session
	r.do(&lost{t.holder}, func(Outcome) {
		if r.m.superseded(t.holder) {
			r.log.Info("the lease of a router's earlier incarnation has run out", "router", t.holder.Router, "boot", t.holder.Boot)
		} else {
			r.log.Warn("a router's lease has run out; subscriptions become active without it", "router", t.holder.Router, "boot", t.holder.Boot)
		}
		r.met.lost.Inc()
		t.counted, t.losing, t.leased, t.confirmed = false, false, false, 0
		if t.session == s {
			r.unseat(t, "its lease has run out") // if it is there after all it comes again
		}
	})
}

// withdraw takes a router's word that it lets nothing through any more: it need not be waited for, and nothing passes by it.
func (r *reign) withdraw(q *request, in *withdrawal) {
	h := Holder{Router: in.Router, Boot: in.Boot}
	t := r.seats[h]
	if t != nil {
		t.losing = true
	}
	r.do(&lost{h}, nil)
	r.do(&forget{h}, func(Outcome) {
		if t != nil {
			t.counted, t.losing, t.leased, t.confirmed = false, false, false, 0
			r.unseat(t, "withdrawn")
		}
		r.answer(q, nil)
	})
}

// confirmedByAll is the epoch that every router has confirmed that may have a lease.
func (r *reign) confirmedByAll() uint64 {
	if r.cfg.Unsafe.IgnoreLeases {
		return math.MaxUint64
	}
	least := uint64(math.MaxUint64)
	for _, t := range r.seats {
		if t.counted {
			least = min(least, t.confirmed)
		}
	}
	return least
}

// whenConfirmed has fn called when every router that may have a lease has confirmed an epoch. fn asks again, if it must be
// sure at a later time.
func (r *reign) whenConfirmed(epoch uint64, fn func()) {
	r.waits = append(r.waits, epochWait{epoch, fn})
}

func (r *reign) settleWaits() {
	if len(r.waits) == 0 {
		return
	}
	all := r.confirmedByAll()
	waits := r.waits
	r.waits = nil
	for _, w := range waits {
		if w.epoch <= all {
			w.fn()
		} else {
			r.waits = append(r.waits, w)
		}
	}
}

// notice tells the node that had a link that it is over, if it is connected. The shard tells it, too.
func (r *reign) notice(to Holder, sub, gen uint64, condition amqp.Symbol, text string) {
	t := r.seats[to]
	if t == nil || t.session == nil {
		return
	}
	t.session.Send(&peer.Notice{Sub: sub, Gen: gen, Condition: string(condition), Text: text})
	t.session.Flush()
	r.met.notices.Inc()
}
