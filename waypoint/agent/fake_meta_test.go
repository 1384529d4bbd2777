package agent

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// fakeMeta is meta's state and its leader's behaviour.
type fakeMeta struct {
	w *world

	mu       sync.Mutex
	service  *peer.Service
	node     string
	sessions []*peer.Session
	hellos   []peer.Hello
	lease    uint32 // milliseconds; 0 grants none
	mute     bool   // answers no renewal
	epoch    uint64
	captures map[string]bool
	policy   peer.Policy
	sent     map[*peer.Session]uint64 // the epoch that a session was sent
	confirms []uint64                 // all renewals' Confirmed
	subs     map[string]*fakeSub
	removed  []peer.RemoveRequest
	left     []peer.LeaveRequest
	reports  []peer.IsolatedReport
	missed   peer.Missed // by every subscription
	heard    []peer.HeardRequest
	opened   []peer.OpenRequest
	openErr  error
	hold     bool // opens are not answered
	onRenew  func(peer.Renew)
	max      int // Add of one Lease; 0: no bound
}

type fakeSub struct {
	id, gen uint64
	req     peer.OpenRequest
}

// lead makes a node meta's leader.
func (m *fakeMeta) lead(node string, term uint64) {
	m.depose()
	h := m.w.hub(node)
	h.Handle(peer.MetaGroup, m.handle)
	v := h.Serve(peer.MetaGroup, term, &metaServer{m, term})
	m.mu.Lock()
	m.service, m.node = v, node
	m.mu.Unlock()
}

func (m *fakeMeta) depose() {
	m.mu.Lock()
	v, node := m.service, m.node
	m.service = nil
	m.mu.Unlock()
	if v != nil {
		m.w.hub(node).Handle(peer.MetaGroup, nil)
		v.Stop()
	}
}

type metaServer struct {
	m    *fakeMeta
	term uint64
}

func (v *metaServer) Opened(s *peer.Session, h *peer.Hello) {
	v.m.mu.Lock()
	v.m.hellos = append(v.m.hellos, *h)
	v.m.sessions = append(v.m.sessions, s)
	v.m.mu.Unlock()
	s.Send(&peer.Welcome{Term: v.term})
	s.Flush()
}

func (v *metaServer) Received(s *peer.Session, list []peer.Message) {
	m := v.m
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, msg := range list {
		r := msg.(*peer.Renew)
		m.confirms = append(m.confirms, r.Confirmed)
		if m.onRenew != nil {
			m.onRenew(*r)
		}
		if m.mute {
			continue
		}
		l := peer.Lease{ID: r.ID, Epoch: m.epoch}
		if r.Confirmed == m.epoch {
			l.Millis = m.lease
		}
		if _, known := m.sent[s]; !known {
			m.whole(&l)
		} else {
			l.Since = m.sent[s]
		}
		m.sent[s] = m.epoch
		s.Send(&l)
		s.Flush()
	}
}

func (v *metaServer) Closed(s *peer.Session, err error) {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	v.m.sessions = slices.DeleteFunc(v.m.sessions, func(o *peer.Session) bool { return o == s })
	delete(v.m.sent, s)
}

func (m *fakeMeta) whole(l *peer.Lease) {
	l.Full = true
	for a := range m.captures {
		l.Add = append(l.Add, a)
	}
	l.Policy, _ = json.Marshal(&m.policy)
	l.Slots = make([]uint32, peer.Slots)
	for i := range l.Slots {
		l.Slots[i] = 1
	}
}

// capture adds and removes captures and pushes the change to all sessions.
func (m *fakeMeta) capture(add, del []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	for _, a := range add {
		m.captures[a] = true
	}
	for _, a := range del {
		delete(m.captures, a)
	}
	for _, s := range m.sessions {
		if since, ok := m.sent[s]; ok {
			m.sent[s] = m.epoch
			l := peer.Lease{Epoch: m.epoch, Since: since, Add: add, Del: del}
			for m.max > 0 && len(l.Add) > m.max {
				part := l
				part.Add, part.Del, part.More = l.Add[:m.max], nil, true
				s.Send(&part)
				l.Add = l.Add[m.max:]
			}
			s.Send(&l)
			s.Flush()
		}
	}
}

func (m *fakeMeta) confirmed() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.confirms) == 0 {
		return 0
	}
	return m.confirms[len(m.confirms)-1]
}

func (m *fakeMeta) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *fakeMeta) handle(from, op string, body []byte, reply func([]byte, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	answer := func(v any) {
		b, _ := json.Marshal(v)
		reply(b, nil)
	}
	switch op {
	case peer.OpOpen:
		var r peer.OpenRequest
		_ = json.Unmarshal(body, &r)
		m.opened = append(m.opened, r)
		if m.hold {
			return
		}
		if m.openErr != nil {
			reply(nil, m.openErr)
			return
		}
		key := r.Owner + "|" + r.ContainerID + "|" + r.LinkName + "|" + r.Name
		if m.subs == nil {
			m.subs = map[string]*fakeSub{}
		}
		sub := m.subs[key]
		created := sub == nil
		if created {
			sub = &fakeSub{id: uint64(100 + len(m.subs)), req: r}
			m.subs[key] = sub
			m.w.shard.cursor(sub.id)
		}
		sub.gen++
		limits := peer.Limits{MaxMessages: 1000, MaxBytes: 1 << 20, MaxAgeMS: peer.Unlimited, MaxInFlight: 100, Overflow: peer.OverflowDropOldest}
		answer(peer.OpenResponse{Sub: sub.id, Gen: sub.gen, Name: "name", Address: r.Address, Terminus: r.Terminus, Limits: limits, Shards: []uint32{1}, Created: created, Missed: m.missed})
	case peer.OpLookup:
		var r peer.LookupRequest
		_ = json.Unmarshal(body, &r)
		sub := m.subs[r.Owner+"|"+r.ContainerID+"|"+r.LinkName+"|"+r.Name]
		if sub == nil {
			reply(nil, peer.Errorf("amqp:not-found", "no subscription"))
			return
		}
		answer(peer.LookupResponse{Sub: sub.id, Name: "name", Address: sub.req.Address, Terminus: sub.req.Terminus, Missed: m.missed})
	case peer.OpRemove:
		var r peer.RemoveRequest
		_ = json.Unmarshal(body, &r)
		m.removed = append(m.removed, r)
		reply(nil, nil)
	case peer.OpLeave:
		var r peer.LeaveRequest
		_ = json.Unmarshal(body, &r)
		m.left = append(m.left, r)
		reply(nil, nil)
	case peer.OpIsolated:
		var r peer.IsolatedReport
		_ = json.Unmarshal(body, &r)
		m.reports = append(m.reports, r)
		reply(nil, nil)
	case peer.OpHeard:
		var r peer.HeardRequest
		_ = json.Unmarshal(body, &r)
		m.heard = append(m.heard, r)
		reply(nil, nil)
	default:
		reply(nil, fmt.Errorf("op %s", op))
	}
}
