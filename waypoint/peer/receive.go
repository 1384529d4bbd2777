package peer

// receive is called by the network for each body.
func (h *Hub) receive(from string, body []byte) {
	hd, rest, err := parseHeader(body)
	var list []Message
	if err == nil {
		list, err = parseMessages(rest)
	}
	if err != nil {
		h.malformed(from, hd, err)
		return
	}
	if len(list) == 0 {
		return
	}
	switch hd.dir {
	case up:
		h.receiveUp(from, hd, list)
	case down:
		h.receiveDown(from, hd, list)
	case call:
		h.receiveCall(from, hd, list[0])
	}
}

// malformed ends the session that the body is of, if that can be told: what it brought is lost.
func (h *Hub) malformed(from string, hd header, err error) {
	h.log.Error("a waypoint sent what can't be read", "node", from, "error", err)
	var s *Session
	h.mu.Lock()
	switch hd.dir {
	case up:
		s = h.served[servedKey{from, hd.group, hd.session}]
	case down:
		s = h.dialed[hd.session]
	}
	h.mu.Unlock()
	if s != nil && s.node == from {
		s.reset("malformed body")
		s.fail(err)
		s.tell()
	}
}

func (h *Hub) receiveUp(from string, hd header, list []Message) {
	h.mu.Lock()
	s := h.served[servedKey{from, hd.group, hd.session}]
	closed := h.closed
	h.mu.Unlock()
	switch {
	case closed:
	case s != nil:
		s.arrive(hd.seq, list)
	default:
		if hello, ok := list[0].(*Hello); ok && hd.seq == 1 {
			h.opened(from, hd, hello, list[1:])
			return
		}
		h.unknown(from, down, hd, list[0])
	}
}

func (h *Hub) receiveDown(from string, hd header, list []Message) {
	h.mu.Lock()
	s := h.dialed[hd.session]
	closed := h.closed
	h.mu.Unlock()
	switch {
	case closed:
	case s != nil && s.node == from && s.group == hd.group:
		s.arrive(hd.seq, list)
	default:
		h.unknown(from, up, hd, list[0])
	}
}

// unknown answers what came for a session that this node doesn't know (any more).
func (h *Hub) unknown(from string, dir direction, hd header, first Message) {
	if _, ok := first.(*Reset); ok {
		return
	}
	if _, ok := first.(*NotLeader); ok {
		return
	}
	h.net.Send(from, resetBody(dir, hd.group, hd.session, "unknown session"))
}
