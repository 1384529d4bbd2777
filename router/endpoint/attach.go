package endpoint

import "github.com/posthouse/posthouse/router/amqp"

// NewSender attaches a link that sends to the peer. a needs Name, and what else it should say; handle, role and initial-delivery-count are
// filled in. data is for Link.Data. The answer comes as Handler.Attached or Detached. The error is ErrGone, ErrNameInUse or
// ErrLimit.
func (s *Session) NewSender(a amqp.Attach, data any) (*Sender, error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	l, err := s.newLinkLocked(amqp.RoleSender, a, data)
	if err != nil {
		return nil, err
	}
	return l.snd, nil
}

// NewReceiver attaches a link that receives from the peer; see NewSender. credit is granted as soon as the peer has answered.
func (s *Session) NewReceiver(a amqp.Attach, credit uint32, data any) (*Receiver, error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	l, err := s.newLinkLocked(amqp.RoleReceiver, a, data)
	if err != nil {
		return nil, err
	}
	l.rcv.limit = credit
	return l.rcv, nil
}

// newLinkLocked makes a link of ours.
func (s *Session) newLinkLocked(role amqp.Role, a amqp.Attach, data any) (*link, error) {
	if !s.liveLocked() {
		return nil, ErrGone
	}
	if old := s.byName[linkKey{a.Name, role}]; old != nil {
		if !old.detachRcvd || old.held {
			return nil, ErrNameInUse
		}
		old.answerDetachLocked() // its detach goes out before our attach
	}
	l := s.addLinkLocked(role, a.Name)
	if l == nil {
		return nil, ErrLimit
	}
	l.initiated, l.data = true, data
	a.Handle, a.Role = l.handle, role
	l.setLocalLocked(a)
	l.attachOwed = true
	l.dirtyLocked()
	s.conn.owedLocked(nil)
	return l, nil
}

// addLinkLocked makes a link with a handle of ours; nil if none is left.
func (s *Session) addLinkLocked(role amqp.Role, name string) *link {
	handle, ok := s.newHandleLocked()
	if !ok {
		return nil
	}
	var l *link
	if role == amqp.RoleSender {
		snd := new(Sender)
		l = &snd.link
		l.snd, l.self = snd, snd
	} else {
		rcv := new(Receiver)
		l = &rcv.link
		l.rcv, l.self = rcv, rcv
	}
	l.session, l.role, l.name, l.handle = s, role, name, handle
	s.byHandle[handle] = l
	if s.byName == nil {
		s.byName = make(map[linkKey]*link)
	}
	s.byName[linkKey{name, role}] = l
	s.conn.links++
	return l
}

// unnameLocked takes the link's name away from it.
func (s *Session) unnameLocked(l *link) {
	key := linkKey{l.name, l.role}
	if s.byName[key] == l {
		delete(s.byName, key)
	}
}

// receiveAttachLocked takes in an attach: an answer to one of ours, or a request. Links of the same name in other sessions and connections, and
// a second one in this session (2.6.1: stolen), are the Handler's business.
func (s *Session) receiveAttachLocked(a *amqp.Attach, size int64) {
	c := s.conn
	switch {
	case a.Handle > c.cfg.HandleMax:
		// 2.7.2: the connection, though it is a session's handle-max.
		c.failLocked(amqp.Errorf(amqp.ErrCondFramingError, "handle %d is above handle-max %d", a.Handle, c.cfg.HandleMax))
		return
	case int64(a.Handle) < int64(len(s.byRemote)) && s.byRemote[a.Handle] != nil:
		// 2.7.3: an immediate close with a session error.
		c.failLocked(amqp.Errorf(amqp.ErrCondHandleInUse, "handle %d is in use", a.Handle))
		return
	}
	l := s.byName[linkKey{a.Name, !a.Role}]
	if l != nil && l.initiated && l.remote == nil {
		s.bindLocked(l, a, size)
		s.answeredLocked(l, a)
		return
	}
	if l != nil && l.failed && !l.detachRcvd && a.Unsettled == nil {
		// 2.6.5: only a resuming attach may come before the peer's detach.
		s.failLocked(amqp.Errorf(amqp.ErrCondErrantLink, "link %.64q was detached with an error", a.Name))
		return
	}
	if c.links >= c.cfg.MaxLinks || c.attachBytes+size > c.cfg.MaxAttachBytes {
		s.failLocked(amqp.Errorf(amqp.ErrCondResourceLimitExceeded, "too many links"))
		return
	}
	if l = s.addLinkLocked(!a.Role, a.Name); l == nil {
		s.failLocked(amqp.Errorf(amqp.ErrCondResourceLimitExceeded, "no handle is left to answer an attach"))
		return
	}
	l.pending = true
	s.bindLocked(l, a, size)
	if a.Role == amqp.RoleSender && !a.InitialDeliveryCount.Set {
		l.told = true                                                                                              // the handler never hears of it
		l.failLocked(amqp.Errorf(amqp.ErrCondInvalidField, "attach.initial-delivery-count: a sender must set it")) // 2.7.3
		return
	}
	c.events = append(c.events, event{kind: evAttached, link: l})
}

// bindLocked gives the link the peer's handle and flow state.
func (s *Session) bindLocked(l *link, a *amqp.Attach, size int64) {
	if n := int(a.Handle) + 1; n > len(s.byRemote) {
		s.byRemote = append(s.byRemote, make([]*link, n-len(s.byRemote))...)
		s.departed = append(s.departed, make([]bool, n-len(s.departed))...)
	}
	s.byRemote[a.Handle], s.departed[a.Handle] = l, false
	l.remote, l.size = a, size
	s.conn.attachBytes += size
	if l.rcv != nil {
		l.rcv.attachedLocked(a.InitialDeliveryCount.Or(0))
	}
}

// answeredLocked takes in the answer to an attach of ours.
func (s *Session) answeredLocked(l *link, a *amqp.Attach) {
	if l.detachOwed || l.detachSent {
		return
	}
	terminus := a.Source != nil || a.OtherSource != nil
	if l.role == amqp.RoleSender {
		terminus = a.Target != nil || a.Coordinator != nil || a.OtherTarget != nil
	}
	if !terminus {
		return // 2.6.3: refused; the reason comes with the detach
	}
	s.conn.events = append(s.conn.events, event{kind: evAttached, link: l})
}

// receiveDetachLocked takes in a detach: an answer to one of ours, or a request.
func (s *Session) receiveDetachLocked(d *amqp.Detach) {
	l := s.linkLocked(d.Handle)
	if l == nil {
		return
	}
	s.byRemote[d.Handle], s.departed[d.Handle] = nil, true
	l.detachRcvd, l.peerClosed = true, d.Closed
	l.goneLocked(Detached{Closed: d.Closed, Err: d.Error, Answer: l.detachOwed || l.detachSent})
	l.releaseLocked()
}
