package peer

// Service is a group served by this node.
type Service struct {
	hub    *Hub
	group  uint32
	server Server
}

// Serve takes sessions for a group that this node leads since term, and advertises its address. A group has one server at a time: an earlier one is stopped.
func (h *Hub) Serve(group uint32, term uint64, server Server) *Service {
	v := &Service{hub: h, group: group, server: server}
	h.mu.Lock()
	before := h.services[group]
	if h.closed {
		h.mu.Unlock()
		return v
	}
	h.services[group] = v
	h.mu.Unlock()
	if before != nil {
		h.endSessions(before)
	}
	h.net.Advertise(Address(group), term)
	return v
}

// Stop withdraws the address and resets the sessions. No call to the server begins after it (one under way may still return), Closed is
// not called.
func (v *Service) Stop() {
	h := v.hub
	h.mu.Lock()
	current := h.services[v.group] == v
	if current {
		delete(h.services, v.group)
	}
	h.mu.Unlock()
	if current {
		h.net.Withdraw(Address(v.group))
	}
	h.endSessions(v)
}

func (h *Hub) endSessions(v *Service) {
	var sessions []*Session
	h.mu.Lock()
	for _, s := range h.served {
		if s.service == v {
			sessions = append(sessions, s)
		}
	}
	h.mu.Unlock()
	for _, s := range sessions {
		s.end(ErrClosed, "not the leader")
	}
}

func (h *Hub) forgetServed(s *Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := servedKey{s.node, s.group, s.id}
	if h.served[key] == s {
		delete(h.served, key)
	}
}

// opened makes a leader's end of a new session. A node has one session to a group at a time: an older one, whose end may have been lost
// on the way, ends first.
func (h *Hub) opened(from string, hd header, hello *Hello, rest []Message) {
	s := newSession(h, from, hd.group, hd.session, down)
	s.got = hd.seq
	h.mu.Lock()
	v := h.services[hd.group]
	if h.closed {
		h.mu.Unlock()
		return
	}
	if v == nil {
		h.mu.Unlock()
		s.Refuse("")
		return
	}
	var older []*Session
	for key, o := range h.served {
		if key.node == from && key.group == hd.group {
			older = append(older, o)
		}
	}
	s.service = v
	h.served[servedKey{from, hd.group, hd.session}] = s
	h.mu.Unlock()
	for _, o := range older {
		o.fail(ErrReplaced)
		o.tell()
	}
	s.in.Lock()
	defer s.in.Unlock()
	if s.failure() == nil {
		v.server.Opened(s, hello)
	}
	if len(rest) > 0 && s.failure() == nil {
		v.server.Received(s, rest)
	}
}
