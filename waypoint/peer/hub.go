package peer

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Config of a Hub.
type Config struct {
	Network Network
	Logger  *slog.Logger
	// PingEvery is how long a session may be silent before its agent pings. Default 1 s.
	PingEvery time.Duration
	// DeadAfter ends a session whose other side has been silent for so long. Default 3 s.
	DeadAfter time.Duration
	// RetryMin and RetryMax bound the pause between attempts to open a session or to ask a leader. Default 50 ms and 1 s.
	RetryMin, RetryMax time.Duration
	// TryFor is how long CallLeader waits for one node's answer before it asks again. Default 5 s.
	TryFor time.Duration
	// Now is the time. Default time.Now.
	Now func() time.Time
}

func (c *Config) setDefaults() {
	for _, d := range []struct {
		p   *time.Duration
		def time.Duration
	}{
		{&c.PingEvery, time.Second}, {&c.DeadAfter, 3 * time.Second},
		{&c.RetryMin, 50 * time.Millisecond}, {&c.RetryMax, time.Second}, {&c.TryFor, 5 * time.Second},
	} {
		if *d.p == 0 {
			*d.p = d.def
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	c.setDefaults()
	switch {
	case c.Network == nil:
		return errors.New("peer: no network")
	case c.Logger == nil:
		return errors.New("peer: no logger")
	case c.PingEvery < 0 || c.RetryMin < 0 || c.TryFor < 0:
		return errors.New("peer: a negative time")
	case c.DeadAfter < 2*c.PingEvery:
		return errors.New("peer: dead-after must be at least twice ping-every")
	case c.RetryMax < c.RetryMin:
		return errors.New("peer: retry-max is below retry-min")
	}
	return nil
}

// Hub is one node's end of all sessions and requests. There is one per node, shared by agent, leaders and meta.
//
// Bodies come in on the network's goroutines; one goroutine of the hub's own watches the time, opens sessions and tells
// their owners when they end, so that no call to an owner is ever made from inside one of its own calls.
type Hub struct {
	cfg     Config
	net     Network
	log     *slog.Logger
	wake    chan struct{} // capacity 1: the goroutine has something to do
	done    chan struct{} // closed by Close
	stopped chan struct{} // closed by the goroutine
	last    time.Time     // owned by the goroutine: its last beat

	mu       sync.Mutex
	closed   bool
	changed  chan struct{} // closed and replaced when the network has changed
	moved    bool          // the network has changed since the last sweep
	services map[uint32]*Service
	served   map[servedKey]*Session
	dialers  map[*Dialer]struct{}
	dialed   map[uint64]*Session
	handlers map[uint32]Handler
	calls    map[uint64]*pendingCall
}

// servedKey names a session at its leader.
type servedKey struct {
	node  string
	group uint32
	id    uint64
}

// Open starts a hub on the network, whose Receive and OnChange it takes.
func Open(cfg Config) (*Hub, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	h := &Hub{
		cfg: cfg, net: cfg.Network, log: cfg.Logger,
		wake: make(chan struct{}, 1), done: make(chan struct{}), stopped: make(chan struct{}),
		changed:  make(chan struct{}),
		services: map[uint32]*Service{}, served: map[servedKey]*Session{},
		dialers: map[*Dialer]struct{}{}, dialed: map[uint64]*Session{},
		handlers: map[uint32]Handler{}, calls: map[uint64]*pendingCall{},
	}
	h.net.Receive(h.receive)
	h.net.OnChange(h.onChange)
	go h.run()
	return h, nil
}

// Close ends all sessions and calls and waits for the hub's goroutine. Calls to servers and clients that are under way may still return.
func (h *Hub) Close() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		<-h.stopped
		return
	}
	h.closed = true
	var sessions []*Session
	for _, s := range h.served {
		sessions = append(sessions, s)
	}
	for _, s := range h.dialed {
		sessions = append(sessions, s)
	}
	clear(h.served)
	clear(h.dialed)
	clear(h.dialers)
	services := h.services
	h.services = map[uint32]*Service{}
	close(h.done)
	h.mu.Unlock()
	for group := range services {
		h.net.Withdraw(Address(group))
	}
	for _, s := range sessions {
		s.end(ErrClosed, "closing")
	}
	<-h.stopped
}

// Node is the name of this node.
func (h *Hub) Node() string { return h.net.Node() }

// Resolve finds the node that leads a group, as far as the network knows.
func (h *Hub) Resolve(group uint32) (node string, ok bool) { return h.net.Resolve(Address(group)) }

func (h *Hub) onChange() {
	h.mu.Lock()
	h.moved = true
	close(h.changed)
	h.changed = make(chan struct{})
	h.mu.Unlock()
	h.kick()
}

func (h *Hub) kick() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// run is the hub's goroutine.
func (h *Hub) run() {
	defer close(h.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-h.done:
			return
		case <-timer.C:
		case <-h.wake:
		}
		timer.Reset(h.beat(h.cfg.Now()))
	}
}

// beat sweeps, and says when to at the latest again: often enough to tell that this process itself stood still.
func (h *Hub) beat(now time.Time) time.Duration {
	every := h.cfg.PingEvery / 2
	// After a stop (a suspended process, a starved machine) the silence was ours.
	if !h.last.IsZero() && now.Sub(h.last) > every+h.cfg.DeadAfter/2 {
		h.forgive(now)
	}
	h.last = now
	return min(every, h.sweep(now))
}

// sweep tells of ended sessions, ends silent ones, pings, and opens what is to be opened. It returns how long until an
// attempt to open is due.
func (h *Hub) sweep(now time.Time) time.Duration {
	served, dialed, dialers, moved := h.take()
	for _, s := range served {
		s.watch(now)
		if s.failure() != nil {
			h.forgetServed(s)
			s.tell()
		}
	}
	for _, s := range dialed {
		s.watch(now)
		if moved {
			s.follow()
		}
		if err := s.failure(); err != nil {
			h.forgetDialed(s, now, err)
		}
	}
	next := time.Duration(1<<63 - 1)
	for _, d := range dialers {
		if wait, waits := d.tend(now, moved); waits {
			next = min(next, wait)
		}
	}
	return next
}

// take copies what sweep looks at, since it calls owners.
func (h *Hub) take() (served, dialed []*Session, dialers []*Dialer, moved bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.served {
		served = append(served, s)
	}
	for _, s := range h.dialed {
		dialed = append(dialed, s)
	}
	for d := range h.dialers {
		dialers = append(dialers, d)
	}
	moved, h.moved = h.moved, false
	return served, dialed, dialers, moved
}

// forgive lets all sessions count the other side's silence from now.
func (h *Hub) forgive(now time.Time) {
	served, dialed, _, moved := h.take()
	for _, s := range append(served, dialed...) {
		s.mu.Lock()
		s.lastGot = now
		s.mu.Unlock()
	}
	h.mu.Lock()
	h.moved = h.moved || moved
	h.mu.Unlock()
}

func newID() uint64 {
	for {
		if id := rand.Uint64(); id != 0 {
			return id
		}
	}
}
