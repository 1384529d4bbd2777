package agent

import (
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// mode is how far the router may trust its table of captures.
type mode int32

const (
	// starting: there was no lease yet, and it is not given up that there will be one soon.
	starting mode = iota
	// leased: there was a lease when last looked; whether there still is one the clock says, at each publish.
	leased
	// waking: the lease ran out while this process stood still; another one is being asked for.
	waking
	// isolated: there is no lease, and has not been one for a while.
	isolated
)

func (m mode) String() string { return [...]string{"starting", "leased", "waking", "isolated"}[m&3] }

// tick is how often the lease is looked at, and how soon a router without one knows that it is isolated. A tick that comes much
// later than it should tells that this process stood still.
const (
	tick  = 100 * time.Millisecond
	stall = 5 * tick
	// renewals bounds the renewals without an answer that are remembered.
	renewals = 16
)

// lease is the agent's session with meta: the table of captures, and how long it may be trusted.
type lease struct {
	agent   *Agent
	log     *slog.Logger
	dialer  *peer.Dialer
	through letThrough
	refused *amqp.Error // for isolated: refuse

	// Read by Admit without a lock.
	table  atomic.Pointer[table]
	expiry atomic.Int64 // of the lease, by the clock; 0: never had one
	mode   atomic.Int32

	mu        sync.Mutex
	session   *peer.Session
	change    change // begun by a Lease with More
	begun     bool
	wantWhole bool // what came did not fit: ask for everything
	lastID    uint64
	asked     map[uint64]time.Duration // renewal -> when it was sent, by the clock
	renewed   time.Duration            // when the last renewal was sent
	every     time.Duration            // between renewals
	reports   []*peer.IsolatedReport   // not taken by meta yet
	reporting bool

	// Owned by the goroutine.
	last  time.Duration // the clock at the last tick
	awake time.Duration // since the last stop of this process, or its start
}

func newLease(a *Agent) *lease {
	l := &lease{
		agent: a, log: a.log,
		through: letThrough{max: a.cfg.LetThrough, temporary: a.cfg.Temporary},
		refused: localRefusal(0, peer.ReasonIsolated, retryAfter),
		asked:   map[uint64]time.Duration{},
		every:   500 * time.Millisecond,
		last:    a.cfg.Clock(),
	}
	return l
}

func (l *lease) is() mode { return mode(l.mode.Load()) }

// run is the lease's goroutine.
func (l *lease) run() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			l.tick()
		case <-l.agent.ctx.Done():
			return
		}
	}
}

// tick renews, and finds out that the lease has run out.
func (l *lease) tick() {
	now := l.agent.cfg.Clock()
	passed := now - l.last
	l.last = now
	stopped := passed > stall
	if stopped {
		l.awake = 0
	}
	if l.awake < math.MaxInt64/2 {
		l.awake += min(passed, tick)
	}
	before := l.is()
	l.look(now)
	l.mu.Lock()
	due := now-l.renewed >= l.every || stopped || l.is() != before
	if l.session != nil && due {
		l.renewLocked(now)
	}
	l.mu.Unlock()
	if l.is() != before {
		l.agent.changed()
	}
}

// look moves the mode forward when there is no lease.
func (l *lease) look(now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now < time.Duration(l.expiry.Load()) {
		return
	}
	cfg := &l.agent.cfg
	switch l.is() {
	case starting:
		if l.awake < cfg.StartFor {
			return
		}
		l.through.lapse(time.Now().Add(-l.awake))
	case leased:
		ago := now - time.Duration(l.expiry.Load())
		l.through.lapse(time.Now().Add(-ago))
		if l.awake < cfg.WakeFor {
			l.log.Warn("this process stood still, and its lease has run out meanwhile", "ago", ago)
			l.mode.Store(int32(waking))
			return
		}
	case waking:
		if l.awake < cfg.WakeFor {
			return
		}
	case isolated:
		return
	}
	l.through.begin()
	l.mode.Store(int32(isolated))
	l.log.Warn("isolated: no lease from meta; publishes to addresses not known as captured follow the address's policy")
}

// renewLocked asks for the lease to be renewed and confirms the present table. The lease counts from now on.
func (l *lease) renewLocked(now time.Duration) {
	l.lastID++
	delete(l.asked, l.lastID-renewals)
	l.asked[l.lastID] = now
	l.renewed = now
	m := peer.Renew{ID: l.lastID, Confirmed: l.table.Load().epoch}
	if l.wantWhole {
		m.Confirmed = 0
	}
	l.session.Send(&m)
	l.session.Flush()
}

// Hello registers the router.
func (l *lease) Hello() *peer.Hello {
	return &peer.Hello{Router: l.agent.cfg.Router, Boot: l.agent.cfg.Boot}
}

// Opened asks for a lease.
func (l *lease) Opened(s *peer.Session, w *peer.Welcome) {
	l.log.Debug("session with meta's leader", "node", s.Node(), "term", w.Term)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = s
	l.change, l.begun = change{}, false
	clear(l.asked)
	l.renewLocked(l.agent.cfg.Clock())
}

// Closed ends the session. The lease lasts as long as it was granted for.
func (l *lease) Closed(s *peer.Session, _ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == s {
		l.session = nil
	}
}

// Received takes leases and notices.
func (l *lease) Received(s *peer.Session, list []peer.Message) {
	for _, m := range list {
		switch m := m.(type) {
		case *peer.Lease:
			changed, err := l.take(s, m)
			if err != nil {
				l.log.Error("session with meta given up", "node", s.Node(), "error", err)
				s.Close(err.Error())
				l.Closed(s, err)
				return
			}
			if changed {
				l.agent.capturesChanged()
				l.agent.changed()
			}
		case *peer.Notice:
			l.agent.noticed(m)
		case *peer.MissedNotice:
			l.agent.missed(m)
		default:
			l.log.Error("meta's leader sends what it should not", "node", s.Node(), "kind", m.Kind())
		}
	}
}

// take exchanges the table, if there is a change, and only then confirms it; and counts the lease, if there is one.
func (l *lease) take(s *peer.Session, m *peer.Lease) (changed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != s {
		return false, nil
	}
	old := l.table.Load()
	// One that answers a renewal and brings nothing new is not answered in turn: a leader that can't grant would be asked without end.
	confirm := m.ID == 0
	if m.Full || m.Epoch != old.epoch || l.begun {
		whole, err := l.change.gather(l.begun, m)
		if err == nil && whole {
			var next *table
			if next, err = l.change.apply(old, l.agent.shardOf); err == nil {
				l.table.Store(next)
				changed, confirm = true, true
				l.wantWhole = false
			}
		}
		l.begun = err == nil && !whole
		if !l.begun {
			l.change = change{}
		}
		if err != nil {
			l.wantWhole = true
			return false, err
		}
		if !whole {
			confirm = false
		}
	}
	if l.grant(m) {
		changed = true
	}
	if confirm {
		l.renewLocked(l.agent.cfg.Clock())
	}
	return changed, nil
}

// grant counts a lease from when its renewal was sent. It tells whether publishes may be treated otherwise than just before: the mode has changed,
// or the lease before had run out already, though no tick has seen it, and they were withheld.
func (l *lease) grant(m *peer.Lease) bool {
	sent, known := l.asked[m.ID]
	if !known || m.Millis == 0 {
		return false
	}
	delete(l.asked, m.ID)
	length := time.Duration(m.Millis) * time.Millisecond
	l.every = max(length/3, tick)
	until := sent + length
	if int64(until) <= l.expiry.Load() || l.agent.cfg.Clock() >= until {
		return false
	}
	before := l.expiry.Swap(int64(until))
	if l.is() == leased {
		// The clock is looked at after the exchange: whoever has seen the lease before run out, saw it sooner.
		return int64(l.agent.cfg.Clock()) >= before
	}
	if l.is() == isolated {
		l.log.Info("no longer isolated", "epoch", l.table.Load().epoch)
	}
	l.mode.Store(int32(leased))
	if r := l.through.end(time.Now()); r != nil {
		l.report(r)
	}
	return true
}
