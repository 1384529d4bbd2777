package peer

import (
	"math/rand/v2"
	"time"
)

// Dialer keeps a Client's session.
type Dialer struct {
	hub    *Hub
	group  uint32
	client Client

	// Guarded by hub.mu.
	closed  bool
	session *Session // the present one, open or not
	term    uint64   // the highest welcomed in
	hint    string   // the node that the last one asked named as the leader
	tried   string   // the node asked last
	fails   int      // attempts since a session lasted
	retryAt time.Time
}

// Dial holds a session to the leader of a group for the client, opening it again whenever it ends, until Close.
func (h *Hub) Dial(group uint32, client Client) *Dialer {
	d := &Dialer{hub: h, group: group, client: client}
	h.mu.Lock()
	if h.closed {
		d.closed = true
	} else {
		h.dialers[d] = struct{}{}
	}
	h.mu.Unlock()
	h.kick()
	return d
}

// Close ends the session and the attempts. No call to the client begins after it; one under way may still return.
func (d *Dialer) Close() {
	h := d.hub
	h.mu.Lock()
	d.closed = true
	s := d.session
	delete(h.dialers, d)
	h.mu.Unlock()
	if s != nil {
		s.end(ErrClosed, "closing")
	}
}

// tend opens a session if it is time to, and says how long until it is otherwise. It is called by the hub's goroutine only.
func (d *Dialer) tend(now time.Time, moved bool) (wait time.Duration, waits bool) {
	h := d.hub
	h.mu.Lock()
	if d.closed || d.session != nil {
		h.mu.Unlock()
		return 0, false
	}
	node, ok := d.hint, d.hint != ""
	resolved, found := h.net.Resolve(Address(d.group))
	if !ok {
		node, ok = resolved, found
	}
	if moved && ok && node != d.tried {
		d.retryAt = now
	}
	if !ok {
		h.mu.Unlock()
		return 0, false // the network tells when there is one
	}
	if wait = d.retryAt.Sub(now); wait > 0 {
		h.mu.Unlock()
		return wait, true
	}
	d.hint, d.tried = "", node
	term := d.term
	h.mu.Unlock()

	hello := *d.client.Hello()
	hello.Term = term
	s := newSession(h, node, d.group, newID(), up)
	s.dialer = d
	s.resolved = resolved
	h.mu.Lock()
	if d.closed || h.closed {
		h.mu.Unlock()
		return 0, false
	}
	d.session = s
	h.dialed[s.id] = s
	h.mu.Unlock()
	s.Send(&hello)
	s.Flush()
	return 0, false
}

// follow ends the session when the address has moved to another node since it was opened.
func (s *Session) follow() {
	node, ok := s.hub.net.Resolve(Address(s.group))
	s.mu.Lock()
	stay := !ok || node == s.node || node == s.resolved
	if ok && node == s.node {
		s.resolved = node
	}
	s.mu.Unlock()
	if !stay {
		s.reset("the leader is another node")
		s.fail(ErrMoved)
	}
}

// forgetDialed takes an ended session away, tells the client, and sets when to try again.
func (h *Hub) forgetDialed(s *Session, now time.Time, err error) {
	d := s.dialer
	h.mu.Lock()
	delete(h.dialed, s.id)
	h.mu.Unlock()
	s.mu.Lock()
	open := s.open
	lasted := open && now.Sub(s.since) >= h.cfg.RetryMax
	s.mu.Unlock()
	if open {
		h.log.Debug("session ended", "group", s.group, "node", s.node, "error", err)
		s.tell()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d.session = nil
	if lasted {
		d.fails = 0
	}
	d.retryAt = now.Add(h.backoff(d.fails))
	d.fails++
}

// backoff is how long to wait after so many failures in a row: nothing at first, then doubling, with chance so that nodes don't ask in step.
func (h *Hub) backoff(fails int) time.Duration {
	if fails == 0 {
		return 0
	}
	d := min(h.cfg.RetryMin<<min(fails-1, 10), h.cfg.RetryMax)
	return d/2 + time.Duration(rand.Int64N(int64(d/2)+1))
}

// received takes what the leader sent. The session's in is held.
func (d *Dialer) received(s *Session, list []Message) {
	s.mu.Lock()
	open := s.open
	s.mu.Unlock()
	if !open {
		switch m := list[0].(type) {
		case *NotLeader:
			d.hub.mu.Lock()
			d.hint = m.Leader
			d.hub.mu.Unlock()
			s.finish(ErrNoLeader)
			return
		case *Forgotten:
		case *Welcome:
			if !d.welcome(s, m) {
				return
			}
			d.client.Opened(s, m)
			list = list[1:]
		default:
			s.reset("expected welcome")
			s.fail(ErrMalformed)
			return
		}
	}
	if len(list) > 0 && s.failure() == nil {
		d.client.Received(s, list)
	}
}

// welcome marks the session as open, unless its leader is one of an older term than was seen already: what that one says may be wrong.
func (d *Dialer) welcome(s *Session, m *Welcome) bool {
	d.hub.mu.Lock()
	old := m.Term < d.term
	d.term = max(d.term, m.Term)
	d.hub.mu.Unlock()
	if old {
		s.reset("old term")
		s.fail(ErrOldTerm)
		return false
	}
	s.mu.Lock()
	s.open = true
	s.since = d.hub.cfg.Now()
	s.mu.Unlock()
	return true
}
