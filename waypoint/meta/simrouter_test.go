package meta

import (
	"errors"
	"sync"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// simRouter is the part of a router and its agent that G2 depends on: it follows the captures, keeps a lease by its own
// clock from sending the renewal, and lets publishes through that are not captured.
type simRouter struct {
	sim    *sim
	world  *world
	hub    *peer.Hub
	holder Holder
	dialer *peer.Dialer
	wake   chan struct{}
	ended  chan struct{}

	mu   sync.Mutex
	box  []func()
	kill bool

	// Owned by run.
	session   *peer.Session
	stopped   time.Time // until then the process stands still
	captured  map[string]bool
	add, del  []string // of Leases with More
	epoch     uint64
	lease     time.Time // until then
	renewed   time.Time
	nextID    uint64
	sent      map[uint64]time.Time
	period    uint64
	isolated  map[string]uint64 // let through in this period
	reporting chan struct{}     // closed when the last report has arrived
	notices   []*peer.Notice
	missed    []peer.MissedNotice
	policy    string
	slots     []uint32
	publishes int
}

const simLease = 1500 * time.Millisecond

func (s *sim) router(w *world, name string, boot uint64) *simRouter {
	r := &simRouter{sim: s, world: w, hub: s.hub(name), holder: Holder{name, boot}, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		captured: map[string]bool{}, sent: map[uint64]time.Time{}, isolated: map[string]uint64{}}
	r.dialer = r.hub.Dial(peer.MetaGroup, r)
	go r.run()
	return r
}

// stop ends the router for good.
func (r *simRouter) stop() {
	r.mu.Lock()
	r.kill = true
	r.mu.Unlock()
	r.post(func() {})
	<-r.ended
	r.dialer.Close()
	r.hub.Close()
}

func (r *simRouter) post(f func()) {
	r.mu.Lock()
	r.box = append(r.box, f)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *simRouter) Hello() *peer.Hello {
	return &peer.Hello{Router: r.holder.Router, Boot: r.holder.Boot}
}
func (r *simRouter) Opened(s *peer.Session, _ *peer.Welcome) { r.post(func() { r.opened(s) }) }
func (r *simRouter) Received(s *peer.Session, list []peer.Message) {
	r.post(func() { r.received(s, list) })
}
func (r *simRouter) Closed(s *peer.Session, _ error) {
	r.post(func() {
		if r.session == s {
			r.session = nil
		}
	})
}

func (r *simRouter) opened(s *peer.Session) {
	r.session, r.add, r.del = s, nil, nil
	clear(r.sent)
	r.renew()
}

func (r *simRouter) renew() {
	r.renewed = time.Now()
	if r.session == nil {
		return
	}
	r.nextID++
	r.sent[r.nextID] = r.renewed
	r.session.Send(&peer.Renew{ID: r.nextID, Confirmed: r.epoch})
	r.session.Flush()
}

func (r *simRouter) received(s *peer.Session, list []peer.Message) {
	for _, m := range list {
		switch m := m.(type) {
		case *peer.Lease:
			if r.session == s {
				r.leased(m)
			}
		case *peer.Notice:
			r.notices = append(r.notices, m)
		case *peer.MissedNotice:
			r.missed = append(r.missed, *m)
		}
	}
}

func (r *simRouter) leased(m *peer.Lease) {
	if !m.Full && m.Since != r.epoch {
		r.sim.t.Errorf("%v at epoch %d gets changes since %d", r.holder, r.epoch, m.Since)
	}
	r.add, r.del = append(r.add, m.Add...), append(r.del, m.Del...)
	if m.More {
		return
	}
	if m.Full {
		clear(r.captured)
		if len(m.Slots) != peer.Slots || len(m.Policy) == 0 {
			r.sim.t.Errorf("the whole set comes without slots or policy")
		}
		r.slots = m.Slots
	}
	if len(m.Policy) > 0 {
		r.policy = string(m.Policy)
	}
	for _, a := range r.add {
		r.captured[a] = true
	}
	for _, a := range r.del {
		delete(r.captured, a)
	}
	r.add, r.del = nil, nil
	news := m.Epoch != r.epoch
	r.epoch = m.Epoch
	if at, ok := r.sent[m.ID]; ok && m.Millis > 0 {
		delete(r.sent, m.ID)
		if until := at.Add(time.Duration(m.Millis) * time.Millisecond); until.After(r.lease) {
			r.regained()
			r.lease = until
		}
	}
	if news {
		r.renew()
	}
}

// regained reports what was let through while there was no lease.
func (r *simRouter) regained() {
	now := time.Now()
	if now.Before(r.lease) {
		return
	}
	r.period++
	report := peer.IsolatedReport{Router: r.holder.Router, Boot: r.holder.Boot, Period: r.period}
	for a, n := range r.isolated {
		report.Counts = append(report.Counts, peer.IsolatedAddress{Address: a, Messages: n})
	}
	clear(r.isolated)
	if r.world != nil {
		r.world.reports()
	}
	// One after the other: meta takes a report for told if a later one was.
	before, after := r.reporting, make(chan struct{})
	r.reporting = after
	r.sim.wg.Go(func() {
		defer close(after)
		if before != nil {
			<-before
		}
		for r.sim.ctx.Err() == nil {
			err := tell(r.sim, r.hub, peer.OpIsolated, report)
			if err == nil && r.world != nil {
				r.world.reported()
			}
			if err == nil || errors.Is(err, peer.ErrClosed) {
				return
			}
		}
	})
}

func (r *simRouter) run() {
	defer close(r.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if wait := time.Until(r.stopped); wait > 0 {
			time.Sleep(wait)
		}
		r.mu.Lock()
		box, kill := r.box, r.kill
		r.box = nil
		r.mu.Unlock()
		if kill {
			return
		}
		// A process that wakes finds its timers due before it reads its sockets, or after: here before.
		if r.world != nil {
			r.publish()
		}
		for _, f := range box {
			f()
		}
		if time.Since(r.renewed) >= simLease/3 {
			r.renew()
		}
		next := simLease / 3
		if r.world != nil {
			next = r.sim.within(10 * time.Millisecond)
		}
		timer.Reset(next)
		select {
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// publish is one publish that begins now, at this router.
func (r *simRouter) publish() {
	address := r.world.address(r.sim)
	r.publishes++
	if r.captured[address] {
		return // to the shard
	}
	isolated := !time.Now().Before(r.lease)
	if isolated {
		r.isolated[address]++
	}
	r.world.direct(r.holder, address, isolated)
}
