package peer

import (
	"sync"
	"time"
)

// Session is one end of a session. Its methods may be called by any goroutine.
type Session struct {
	// Data is for the owner's use, who sets it in Opened.
	Data any

	hub     *Hub
	node    string
	group   uint32
	id      uint64
	dir     direction // of what this end sends
	service *Service  // of a leader's end
	dialer  *Dialer   // of an agent's end

	// in is held while the owner is called, so that calls come one after the other. It is taken before mu.
	in   sync.Mutex
	told bool   // guarded by in: the last call was made
	got  uint64 // guarded by in: seq of the last body received

	mu       sync.Mutex
	body     []byte // under construction; empty if there is none
	lastSize int    // of the body before it: this one may become as large
	sent     uint64 // seq of the last body sent
	lastSent time.Time
	lastGot  time.Time
	lastPing time.Time
	err      error // why it ended
	silent   bool  // the owner ended it and wants no call
	open     bool  // welcomed
	since    time.Time
	resolved string // agent's end: what the address resolved to when it was opened
}

func newSession(h *Hub, node string, group uint32, id uint64, dir direction) *Session {
	now := h.cfg.Now()
	return &Session{hub: h, node: node, group: group, id: id, dir: dir, lastSent: now, lastGot: now, since: now}
}

// Node is the node at the other end.
func (s *Session) Node() string { return s.node }

// Group is the group that the session is with.
func (s *Session) Group() uint32 { return s.group }

// ID is the session's id: random, chosen by the agent.
func (s *Session) ID() uint64 { return s.id }

// Send adds a message to the body under construction, which goes out when it is full or at Flush. It never blocks and never calls back;
// the message is encoded at once and stays the caller's. After the session has ended it does nothing.
func (s *Session) Send(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	if len(s.body) == 0 {
		s.body = s.appendHeader(s.body)
	}
	at := len(s.body)
	s.body = appendMessage(s.body, m)
	switch {
	case len(s.body) <= BatchBytes:
	case at == headerSize:
		s.flushLocked() // a large message goes alone
	default:
		rest := s.appendHeader(make([]byte, 0, max(headerSize+len(s.body)-at, minBody)))
		rest = append(rest, s.body[at:]...)
		s.body = s.body[:at]
		s.flushLocked()
		s.body = rest
		if len(s.body) > BatchBytes {
			s.flushLocked()
		}
	}
}

// minBody is the capacity that a body starts with.
const minBody = 512

func (s *Session) appendHeader(b []byte) []byte {
	if b == nil {
		b = make([]byte, 0, min(max(s.lastSize, minBody), BatchBytes+minBody))
	}
	return appendHeader(b, header{dir: s.dir, group: s.group, session: s.id})
}

// Flush sends what waits. It never blocks and never calls back.
func (s *Session) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushLocked()
}

// flushLocked numbers the body and hands it to the network in one step, so that a Ping or Pong, which names the last number, never
// overtakes it. The network never blocks or calls back.
func (s *Session) flushLocked() {
	if len(s.body) == 0 || s.err != nil {
		return
	}
	s.sent++
	setSeq(s.body, s.sent)
	body := s.body
	s.body, s.lastSize = nil, len(body) // the network owns it now
	s.lastSent = s.hub.cfg.Now()
	if !s.hub.net.Send(s.node, body) {
		s.failLocked(ErrNoPath)
	}
}

// Refuse answers NotLeader and ends the session: for a Server, instead of Welcome.
func (s *Session) Refuse(leader string) {
	s.mu.Lock()
	s.body = s.body[:0]
	s.mu.Unlock()
	s.Send(&NotLeader{Leader: leader})
	s.Flush()
	s.finish(ErrClosed)
}

// Close resets the session, telling the other side why. No call for it begins afterwards. An agent's Dialer opens another.
func (s *Session) Close(reason string) { s.end(ErrClosed, reason) }

// Ended tells whether the session is over.
func (s *Session) Ended() bool { return s.failure() != nil }

func (s *Session) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// end is the owner's way to end it: the other side is reset, the owner not called.
func (s *Session) end(err error, reason string) {
	s.reset(reason)
	s.finish(err)
}

// finish ends it without a word to anyone.
func (s *Session) finish(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.silent = true
	s.mu.Unlock()
	s.hub.kick()
}

// fail ends it for a cause that the owner must hear of.
func (s *Session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(err)
}

func (s *Session) failLocked(err error) {
	if s.err == nil {
		s.err = err
		s.hub.kick()
	}
}

// reset tells the other side that the session is over, if it is not over yet.
func (s *Session) reset(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.hub.net.Send(s.node, resetBody(s.dir, s.group, s.id, reason))
	}
}

func resetBody(dir direction, group uint32, id uint64, reason string) []byte {
	b := appendHeader(make([]byte, 0, headerSize+8+len(reason)), header{dir: dir, group: group, session: id})
	return appendMessage(b, &Reset{Reason: reason})
}

// controlLocked sends a message that has no number of its own. The caller holds mu.
func (s *Session) controlLocked(m Message, now time.Time) {
	b := appendHeader(make([]byte, 0, headerSize+8), header{dir: s.dir, group: s.group, session: s.id, seq: s.sent})
	s.lastSent = now
	if !s.hub.net.Send(s.node, appendMessage(b, m)) {
		s.failLocked(ErrNoPath)
	}
}

// watch ends the session when the other side is silent, and pings at the agent's end: the leader hears something at least
// so often, and answers.
func (s *Session) watch(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	if now.Sub(s.lastGot) >= s.hub.cfg.DeadAfter {
		s.hub.net.Send(s.node, resetBody(s.dir, s.group, s.id, "silent"))
		s.failLocked(ErrSilent)
		return
	}
	every := s.hub.cfg.PingEvery
	idle := now.Sub(s.lastSent) >= every || now.Sub(s.lastGot) >= every
	if s.dir == up && idle && now.Sub(s.lastPing) >= every {
		s.lastPing = now
		s.controlLocked(&Ping{}, now)
	}
}

// tell makes the last call to the owner, unless there was one or it wants none.
func (s *Session) tell() {
	s.in.Lock()
	defer s.in.Unlock()
	s.tellLocked()
}

// tellLocked is tell for who holds in.
func (s *Session) tellLocked() {
	s.mu.Lock()
	err, silent := s.err, s.silent
	if s.dir == up && !s.open {
		silent = true // an attempt that failed is the dialer's affair
	}
	s.mu.Unlock()
	if s.told || err == nil {
		return
	}
	s.told = true
	switch {
	case silent:
	case s.dir == up:
		s.dialer.client.Closed(s, err)
	default:
		s.service.server.Closed(s, err)
	}
}

// arrive takes a body that came in for this session.
func (s *Session) arrive(seq uint64, list []Message) {
	s.in.Lock()
	defer s.in.Unlock()
	now := s.hub.cfg.Now()
	s.mu.Lock()
	over := s.err != nil
	s.lastGot = now
	s.mu.Unlock()
	if over || s.told {
		return
	}
	switch m := list[0].(type) {
	case *Reset:
		s.hub.log.Debug("session reset by the other side", "group", s.group, "node", s.node, "reason", m.Reason)
		s.fail(ErrReset)
		s.tellLocked()
		return
	case *Ping, *Pong:
		if seq > s.got {
			s.lostLocked()
		} else if _, asked := m.(*Ping); asked {
			s.mu.Lock()
			if s.err == nil {
				s.controlLocked(&Pong{}, now)
			}
			s.mu.Unlock()
		}
		return
	}
	if seq != s.got+1 {
		s.lostLocked()
		return
	}
	s.got = seq
	if s.dir == down {
		s.service.server.Received(s, list)
		return
	}
	s.dialer.received(s, list)
}

func (s *Session) lostLocked() {
	s.reset("a body was lost")
	s.fail(ErrGap)
	s.tellLocked()
}
