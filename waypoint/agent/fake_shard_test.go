package agent

import (
	"fmt"
	"sync"
	"testing/synctest"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// fakeShard is a shard's replicated state: what its leaders agree on.
type fakeShard struct {
	w *world

	mu      sync.Mutex
	leader  *fakeLeader
	index   uint64
	lanes   map[uint64]*fakeLane
	log     []fakeMessage
	nobody  map[string]bool // wanted by no subscription
	forgets bool            // says Forgotten of a lane that is not known
	cursors map[uint64]*fakeCursor
	seen    []peer.Message // all that leaders got, but publishes
	helloed []peer.Hello

	pressure peer.Pressure // what leaders welcome with; set while nobody opens a session
}

type fakeLane struct {
	last    uint64
	refused map[uint64]peer.Refusal
}

type fakeMessage struct {
	lane, n uint64
	payload string
}

// fakeCursor holds messages of its own: a test puts them there.
type fakeCursor struct {
	gen       uint64
	head      uint64
	open      map[uint64]*fakePlace // not confirmed
	confirmed []uint64
	outcomes  map[uint64][]peer.OutcomeState // all committed ones
}

type fakePlace struct {
	count uint32
	seen  bool
	out   bool // in flight
}

func (s *fakeShard) cursor(id uint64) *fakeCursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cursors[id] == nil {
		s.cursors[id] = &fakeCursor{open: map[uint64]*fakePlace{}, outcomes: map[uint64][]peer.OutcomeState{}}
	}
	return s.cursors[id]
}

// fill puts n messages in.
func (s *fakeShard) fill(id uint64, n int) {
	c := s.cursor(id)
	s.mu.Lock()
	for range n {
		c.head++
		c.open[c.head] = &fakePlace{}
	}
	l := s.leader
	s.mu.Unlock()
	if l != nil {
		l.dispatch()
	}
}

func (s *fakeShard) messages(kind peer.Kind) []peer.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []peer.Message
	for _, m := range s.seen {
		if m.Kind() == kind {
			out = append(out, m)
		}
	}
	return out
}

// lead makes a node the leader, in a term; whoever led before is cut off.
func (s *fakeShard) lead(node string, term uint64) *fakeLeader {
	s.depose()
	l := &fakeLeader{shard: s, term: term, links: map[uint64]*fakeLink{}}
	s.mu.Lock()
	s.leader = l
	s.mu.Unlock()
	v := s.w.hub(node).Serve(1, term, l)
	s.mu.Lock()
	l.service = v
	s.mu.Unlock()
	return l
}

func (s *fakeShard) depose() {
	s.mu.Lock()
	l := s.leader
	s.leader = nil
	s.mu.Unlock()
	if l != nil {
		l.service.Stop()
		synctest.Wait()
	}
}

// fakeLeader leads a fakeShard: what it applies is committed at once.
type fakeLeader struct {
	shard   *fakeShard
	term    uint64
	service *peer.Service

	// Set by tests before it gets anything; called with the shard's lock held.
	publish func(lane uint64, item *peer.PublishItem) fate // default: kept and answered
	silent  bool                                           // takes publishes in, answers and commits nothing
	early   bool                                           // commits outcomes without saying so

	session *peer.Session
	lane    uint64
	links   map[uint64]*fakeLink
	window  uint64
	sentB   uint64
}

type fakeLink struct {
	gen      uint64
	limit    uint64
	used     uint64
	drain    bool
	drained  uint64
	delivers int
}

// fate is what becomes of a publish.
type fate int

const (
	keep fate = iota
	refuse
	noView
	lost       // not committed, not answered
	keepSilent // committed, not answered
)

func (l *fakeLeader) Opened(s *peer.Session, h *peer.Hello) {
	sh := l.shard
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.helloed = append(sh.helloed, *h)
	id := h.Lane
	if sh.lanes[id] == nil {
		if id != 0 && sh.forgets {
			s.Send(&peer.Forgotten{})
			s.Flush()
			return
		}
		sh.index++
		id = sh.index
		sh.lanes[id] = &fakeLane{refused: map[uint64]peer.Refusal{}}
	}
	l.session, l.lane = s, id
	l.window, l.sentB = 0, 0
	clear(l.links)
	w := &peer.Welcome{Term: l.term, Lane: id, Last: sh.lanes[id].last, Pressure: sh.pressure}
	for n, r := range sh.lanes[id].refused {
		w.Refused = append(w.Refused, peer.RefusedPublish{N: n, Refusal: r})
	}
	s.Send(w)
	s.Flush()
}

func (l *fakeLeader) Closed(s *peer.Session, err error) {}

func (l *fakeLeader) Received(s *peer.Session, list []peer.Message) {
	sh := l.shard
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if l.session != s {
		return
	}
	for _, m := range list {
		switch m := m.(type) {
		case *peer.Publish:
			l.published(m)
			continue
		case *peer.AckRefusals:
			for n := range sh.lanes[l.lane].refused {
				if n <= m.Through {
					delete(sh.lanes[l.lane].refused, n)
				}
			}
		case *peer.Window:
			l.window = m.Bytes
		case *peer.Attach:
			l.attach(m)
		case *peer.Credit:
			if k := l.links[m.Sub]; k != nil && k.gen == m.Gen {
				k.limit, k.drain = m.Limit, m.Drain
			}
		case *peer.Outcome:
			l.outcome(m)
		case *peer.Leave:
			s.Send(&peer.Left{Sub: m.Sub, Gen: m.Gen})
			delete(l.links, m.Sub)
		}
		sh.seen = append(sh.seen, m)
	}
	l.dispatchLocked()
	s.Flush()
}

func (l *fakeLeader) published(m *peer.Publish) {
	if l.silent {
		return
	}
	sh, lane := l.shard, l.shard.lanes[l.lane]
	a := peer.Answers{}
	for i := range m.Items {
		item := &m.Items[i]
		if item.N != lane.last+1 {
			l.session.Close(fmt.Sprintf("got %d after %d", item.N, lane.last))
			sh.w.t.Errorf("publish %d after %d", item.N, lane.last)
			return
		}
		f := keep
		if item.Void {
			f = refuse
		} else if l.publish != nil {
			f = l.publish(l.lane, item)
		}
		if f == lost {
			// Nothing after it can be committed either.
			l.silent = true
			break
		}
		lane.last++
		switch f {
		case keep, keepSilent:
			sh.log = append(sh.log, fakeMessage{l.lane, item.N, string(item.Payload)})
		case refuse:
			r := peer.Refusal{Condition: "amqp:resource-limit-exceeded", Subscription: "s", Reason: peer.ReasonLimit, Limit: 10, Used: 11}
			lane.refused[item.N] = r
			a.Except = append(a.Except, peer.Exception{N: item.N, Refusal: &r})
		case noView:
			sh.nobody[string(item.Payload)] = true
			a.Except = append(a.Except, peer.Exception{N: item.N})
		}
		if f == keepSilent {
			l.silent = true
			break
		}
		a.Through = item.N
	}
	if a.Through > 0 {
		l.session.Send(&a)
		l.session.Flush()
	}
}

func (l *fakeLeader) attach(m *peer.Attach) {
	c := l.shard.cursors[m.Sub]
	if c == nil || m.Gen < c.gen {
		l.session.Send(&peer.Ended{Sub: m.Sub, Gen: m.Gen, Condition: "amqp:link:stolen", Text: "late"})
		return
	}
	if old := l.links[m.Sub]; old != nil && old.gen < m.Gen {
		l.session.Send(&peer.Ended{Sub: m.Sub, Gen: old.gen, Condition: "amqp:link:stolen", Text: "taken over"})
	}
	fresh := c.gen != m.Gen
	c.gen = m.Gen
	for _, p := range c.open {
		p.out = false
	}
	if !fresh {
		for _, h := range m.Held {
			if p := c.open[h.Seq]; p != nil && p.count == h.Count {
				p.out = true
			}
		}
	}
	l.links[m.Sub] = &fakeLink{gen: m.Gen, limit: m.Credit, drain: m.Drain}
	l.session.Send(&peer.Attached{Sub: m.Sub, Gen: m.Gen, State: peer.SubState{Messages: uint64(len(c.open))}})
}

func (l *fakeLeader) outcome(m *peer.Outcome) {
	c := l.shard.cursors[m.Sub]
	if c.gen != m.Gen {
		return
	}
	answer := peer.Committed{Sub: m.Sub, Gen: m.Gen}
	for _, o := range m.Items {
		answer.Items = append(answer.Items, peer.Settled{Seq: o.Seq, Count: o.Count})
		p := c.open[o.Seq]
		if p == nil || p.count != o.Count || !p.out {
			continue
		}
		c.outcomes[o.Seq] = append(c.outcomes[o.Seq], o.State)
		p.out, p.seen = false, true
		switch o.State {
		case peer.Accepted, peer.Rejected:
			delete(c.open, o.Seq)
			c.confirmed = append(c.confirmed, o.Seq)
		case peer.Modified:
			if o.Flags&peer.FlagFailed != 0 {
				p.count++
			}
		}
	}
	if !l.early {
		l.session.Send(&answer)
	}
}

func (l *fakeLeader) dispatch() {
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	if l.session != nil {
		l.dispatchLocked()
		l.session.Flush()
	}
}

func (l *fakeLeader) dispatchLocked() {
	for id, k := range l.links {
		c := l.shard.cursors[id]
		for k.used < k.limit {
			next := uint64(0)
			for seq, p := range c.open {
				if !p.out && (next == 0 || seq < next) {
					next = seq
				}
			}
			if next == 0 {
				if k.drain && k.drained != k.limit {
					k.drained = k.limit
					k.used = k.limit
					l.session.Send(&peer.Drained{Sub: id, Gen: k.gen, Limit: k.limit})
				}
				break
			}
			payload := fmt.Sprintf("m%d", next)
			if l.sentB >= l.window {
				break
			}
			l.sentB += uint64(len(payload))
			p := c.open[next]
			p.out = true
			k.used++
			k.delivers++
			l.session.Send(&peer.Deliver{Sub: id, Gen: k.gen, Seq: next, Count: p.count, Redelivered: p.seen, Time: 5, Address: "a", Payload: []byte(payload)})
			p.seen = true
		}
		if k.drain && k.used == k.limit && k.drained != k.limit {
			k.drained = k.limit
			l.session.Send(&peer.Drained{Sub: id, Gen: k.gen, Limit: k.limit})
		}
	}
}
