package leader

import (
	"sync/atomic"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// session is one agent's session. It is owned by the leader's goroutine, but for what is atomic.
type session struct {
	Session
	reign *reign

	waiting atomic.Int64 // bytes of publishes that wait; added to by who receives

	router  string
	boot    uint64
	lane    uint64 // 0 until welcomed
	over    bool
	unsaid  bool // something was sent since the last flush
	next    uint64
	inbox   []peer.PublishItem // publishes that wait for a turn
	sending bool               // in reign.senders
	ack     uint64             // refusals that its router knows, to be told to the shard
	links   map[linkKey]*link

	window  uint64    // bytes of deliveries that it takes
	sent    uint64    // ... and has got
	stalled []*cursor // have something to send, and wait for the window
}

// server is what peer calls. Every call goes into the mailbox.
type server struct{ reign *reign }

func (v *server) Opened(s *peer.Session, hello *peer.Hello) { s.Data = v.open(s, hello) }
func (v *server) Received(s *peer.Session, list []peer.Message) {
	v.receive(s.Data.(*session), list)
}
func (v *server) Closed(s *peer.Session, err error) { v.close(s.Data.(*session), err) }

func (v *server) open(of Session, hello *peer.Hello) *session {
	s := &session{Session: of, reign: v.reign, router: hello.Router, boot: hello.Boot, links: map[linkKey]*link{}}
	v.post(func(r *reign) { r.opened(s, hello) })
	return s
}

func (v *server) receive(s *session, list []peer.Message) {
	bytes := int64(0)
	for _, m := range list {
		if p, ok := m.(*peer.Publish); ok {
			for i := range p.Items {
				bytes += publishBytes(&p.Items[i])
			}
		}
	}
	if s.waiting.Add(bytes) > v.reign.l.cfg.InboxBytes {
		// An agent keeps to its own window. One that doesn't must not fill this node's memory.
		s.Session.Close("more publishes than fit")
		v.close(s, nil)
		return
	}
	v.post(func(r *reign) { r.received(s, list) })
}

func (v *server) close(s *session, _ error) {
	v.post(func(r *reign) { r.closed(s) })
}

// post hands f to the goroutine, for as long as this reign lasts.
func (v *server) post(f func(*reign)) { v.reign.post(f) }

// publishBytes is what a publish that waits takes.
func publishBytes(p *peer.PublishItem) int64 { return int64(len(p.Payload) + len(p.Address) + 64) }

// say sends a message; it goes out at the end of the step.
func (s *session) say(m peer.Message) {
	if s.over {
		return
	}
	s.Send(m)
	if !s.unsaid {
		s.unsaid = true
		s.reign.unsaid = append(s.reign.unsaid, s)
	}
}

// received takes messages in their order.
func (r *reign) received(s *session, list []peer.Message) {
	for _, m := range list {
		if s.over {
			return
		}
		if s.lane == 0 {
			r.reset(s, "not welcomed yet")
			return
		}
		switch m := m.(type) {
		case *peer.Publish:
			r.published(s, m.Items)
		case *peer.AckRefusals:
			r.acked(s, m.Through)
		case *peer.Attach:
			r.attach(s, m)
		case *peer.Credit:
			r.credit(s, m)
		case *peer.Outcome:
			r.outcome(s, m)
		case *peer.Leave:
			r.leave(s, m)
		case *peer.Window:
			r.widen(s, m.Bytes)
		default:
			r.reset(s, "a shard's leader takes no "+m.Kind().String())
			return
		}
	}
}

// reset ends a session for a reason of ours; the agent opens another and they agree again.
func (r *reign) reset(s *session, reason string) {
	if s.over {
		return
	}
	r.l.log.Debug("session reset", "node", s.Node(), "router", s.router, "reason", reason)
	s.Session.Close(reason)
	r.closed(s)
}

// closed forgets a session. What its router holds stays in flight until that router, or another generation, attaches.
func (r *reign) closed(s *session) {
	if s.over {
		return
	}
	s.over = true
	s.inbox = nil
	delete(r.sessions, s)
	if r.byRouter[s.router] == s {
		delete(r.byRouter, s.router)
	}
	if s.lane != 0 {
		r.silent[s.lane] = r.l.cfg.Raft.Now()
	}
	for _, k := range s.links {
		r.unlink(k)
	}
	s.stalled = nil
}

// widen raises the session's window and wakes, in their order, those who waited for it.
func (r *reign) widen(s *session, bytes uint64) {
	if bytes <= s.window {
		return
	}
	s.window = bytes
	stalled := s.stalled
	s.stalled = nil
	for _, c := range stalled {
		c.stalled = false
		r.wake(c)
	}
}
