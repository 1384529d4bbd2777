package agent

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// shard is what the agent has to do with one shard: its lane and the subscriptions whose cursors are there.
//
// State waits, not messages: whoever has something for the leader or for a consumer marks it, and the shard's one goroutine
// makes messages and calls of it, as many at a time as there are.
//
// Locks: a Subscription's mu may be held when the shard's is taken, never the other way round.
type shard struct {
	id       uint32
	agent    *Agent
	log      *slog.Logger
	dialer   *peer.Dialer
	noLeader *amqp.Error
	wake     chan struct{} // capacity 1

	// Read by Admit without a lock.
	full       atomic.Bool
	leaderless atomic.Bool              // for as long as a publish waits for a leader
	refusing   atomic.Pointer[refusing] // nil: nothing is

	mu      sync.Mutex
	closed  bool
	session *peer.Session // welcomed; nil while there is none
	lost    time.Time     // since when there is none
	lane    lane
	links   map[uint64][]*Subscription // by subscription: its generations, seldom more than one
	dirty   []*Subscription            // owe the leader something
	ready   []*Subscription            // owe their consumer something
	changed bool                       // the router is to be told that admission has changed
	pressed bool                       // ... and that the pressure has
	press   peer.Pressure              // as the leader has told
	window  window

	// Owned by the goroutine, kept for their memory.
	items []peer.PublishItem
	spare []answered
	told  peer.Pressure // to people and the router
}

// link names a generation of a subscription.
type link struct{ sub, gen uint64 }

// window counts the bytes of deliveries in a session. All that was received before a turn has been taken off the network and is in the
// subscriptions' own accounts, so a turn opens the window anew.
type window struct {
	received uint64
	told     uint64
}

func newShard(a *Agent, id uint32) *shard {
	return &shard{
		id: id, agent: a, log: a.log.With("shard", id),
		noLeader: localRefusal(id, peer.ReasonNoMajority, retryAfter),
		wake:     make(chan struct{}, 1),
		lane:     lane{shard: id},
		links:    map[uint64][]*Subscription{},
		lost:     time.Now(),
	}
}

func (s *shard) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run is the shard's goroutine.
func (s *shard) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait, more := s.turn(time.Now())
		if more {
			continue
		}
		timer.Reset(wait)
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.agent.ctx.Done():
			return
		}
	}
}

// laneTurn is how many bytes of publishes a turn sends at most, so that a lane that is sent again whole delays nothing else for long.
const laneTurn = 512 << 10

// turn sends what is owed to the leader and makes the calls that are owed to receipts and consumers.
func (s *shard) turn(now time.Time) (wait time.Duration, more bool) {
	cfg := &s.agent.cfg
	s.mu.Lock()
	session := s.session
	if session != nil {
		more = s.sendLane(session, now)
		s.sendWindow(session)
	} else {
		s.lane.refuseWaiting(now.Add(-cfg.WaitForLeader))
		s.noteLeaderless(now)
	}
	s.lane.voidUnknown(now.Add(-cfg.UnknownAfter))
	wait = time.Hour
	if at, ok := s.lane.due(cfg.UnknownAfter, cfg.WaitForLeader); ok {
		wait = max(at.Sub(now), time.Millisecond)
	}
	if session == nil && !s.leaderless.Load() {
		wait = min(wait, s.lost.Add(cfg.WaitForLeader).Sub(now))
	}
	s.noteRoom()
	changed, pressed, press := s.changed, s.pressed, s.press
	s.changed, s.pressed = false, false
	out := s.lane.out
	s.lane.out = s.spare[:0]
	dirty, ready := s.takeMarked()
	s.mu.Unlock()

	if session != nil {
		for _, sub := range dirty {
			sub.send(session)
		}
		session.Flush()
	}
	for i := range out {
		s.agent.counters.answered(&out[i])
		out[i].receipt.Answered(out[i].answer)
	}
	clear(out)
	s.spare = out
	for _, sub := range ready {
		sub.tell()
	}
	if pressed {
		s.tellPressure(press)
	}
	if changed {
		s.agent.changed()
	}
	return wait, more
}

func (s *shard) takeMarked() (dirty, ready []*Subscription) {
	dirty, ready = s.dirty, s.ready
	s.dirty, s.ready = nil, nil
	for _, sub := range dirty {
		sub.isDirty = false
	}
	for _, sub := range ready {
		sub.isReady = false
	}
	return dirty, ready
}

// sendLane sends unsent publishes, in messages of about a body's size.
func (s *shard) sendLane(session *peer.Session, now time.Time) (more bool) {
	if s.lane.ack != 0 {
		session.Send(&peer.AckRefusals{Through: s.lane.ack})
		s.lane.ack = 0
	}
	for range laneTurn / peer.BatchBytes {
		s.items = s.lane.next(s.items[:0], peer.BatchBytes*7/8, now)
		if len(s.items) == 0 {
			return false
		}
		session.Send(&peer.Publish{Items: s.items})
		clear(s.items)
	}
	return true
}

func (s *shard) sendWindow(session *peer.Session) {
	size := uint64(s.agent.cfg.DeliveryWindow)
	if open := s.window.received + size; s.window.told == 0 || open-s.window.told >= size/4 {
		s.window.told = open
		session.Send(&peer.Window{Bytes: open})
	}
}

// noteLeaderless has admit refuse, once there has been no leader for as long as a publish waits for one: what fills the lane then may stay
// for good, since its numbers have to be told to the next leader.
func (s *shard) noteLeaderless(now time.Time) {
	if !s.leaderless.Load() && now.Sub(s.lost) >= s.agent.cfg.WaitForLeader {
		s.leaderless.Store(true)
		s.changed = true
	}
}

// noteRoom ends the withholding when a quarter of the window is free again.
func (s *shard) noteRoom() {
	messages, bytes := s.bounds()
	if s.full.Load() && s.lane.len() <= messages*3/4 && s.lane.bytes <= bytes*3/4 {
		s.full.Store(false)
		s.changed = true
	}
}

// noteFull begins it.
func (s *shard) noteFull() {
	if messages, bytes := s.bounds(); (s.lane.len() >= messages || s.lane.bytes >= bytes) && !s.full.Load() {
		s.full.Store(true)
		s.agent.counters.stalled[min(int(s.press.Reason), reasons-1)].Add(1)
	}
}

// publish puts a captured publish into the lane.
func (s *shard) publish(p *Publish) {
	if len(p.Payload) > peer.MaxMessage {
		s.refuse(p, peer.ReasonSize, 0)
		return
	}
	cfg := &s.agent.cfg
	s.mu.Lock()
	// Publishers that ask before they publish pass the window by no more than one message each. One that doesn't ask must not fill the memory.
	room := s.lane.len() < 2*cfg.LaneMessages && s.lane.bytes < 2*cfg.LaneBytes
	closed := s.closed
	if room && !closed {
		s.lane.put(entry{address: p.Address, payload: p.Payload, receipt: p.Receipt, since: time.Now()})
		s.noteFull()
	}
	s.mu.Unlock()
	switch {
	case closed:
		s.refuse(p, peer.ReasonNoMajority, 0)
	case !room:
		s.refuse(p, peer.ReasonTooLong, retryAfter)
	default:
		s.kick()
	}
}

// refuse answers a publish that never got into the lane.
func (s *shard) refuse(p *Publish, reason peer.Reason, retry time.Duration) {
	a := answered{p.Receipt, Answer{Kind: RefusedAnswer, Err: localRefusal(s.id, reason, retry)}, reason}
	s.agent.counters.answered(&a)
	p.Receipt.Answered(a.answer)
}

// markDirty has the subscription send what it owes; markReady has it make the calls that it owes. Both may be called with the
// subscription's lock held.
func (s *shard) markDirty(sub *Subscription) {
	s.mu.Lock()
	if !sub.isDirty {
		sub.isDirty = true
		s.dirty = append(s.dirty, sub)
	}
	s.mu.Unlock()
	s.kick()
}

func (s *shard) markReady(sub *Subscription) {
	s.mu.Lock()
	if !sub.isReady {
		sub.isReady = true
		s.ready = append(s.ready, sub)
	}
	s.mu.Unlock()
	s.kick()
}

func (s *shard) join(sub *Subscription) {
	id := sub.link.sub
	s.mu.Lock()
	s.links[id] = append(s.links[id], sub)
	s.mu.Unlock()
	s.markDirty(sub)
}

func (s *shard) drop(sub *Subscription) {
	id := sub.link.sub
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.DeleteFunc(s.links[id], func(o *Subscription) bool { return o == sub })
	if s.links[id] = list; len(list) == 0 {
		delete(s.links, id)
	}
}

// linkList lists all links. The lock is held.
func (s *shard) linkList() []*Subscription {
	list := make([]*Subscription, 0, len(s.links))
	for _, generations := range s.links {
		list = append(list, generations...)
	}
	return list
}

// close answers what is left, once the goroutine has ended.
func (s *shard) close() {
	s.mu.Lock()
	s.closed = true
	s.lane.forget()
	out := s.lane.out
	s.lane.out = nil
	err := localRefusal(s.id, peer.ReasonNoMajority, 0)
	for i := range s.lane.len() {
		out = append(out, answered{s.lane.at(i).receipt, Answer{Kind: RefusedAnswer, Err: err}, peer.ReasonNoMajority})
	}
	s.lane = lane{shard: s.id}
	links := s.linkList()
	s.mu.Unlock()
	for _, sub := range links {
		sub.finish(nil)
	}
	for i := range out {
		s.agent.counters.answered(&out[i])
		out[i].receipt.Answered(out[i].answer)
	}
}

func (l link) compare(o link) int {
	switch {
	case l.sub != o.sub && l.sub < o.sub, l.sub == o.sub && l.gen < o.gen:
		return -1
	case l == o:
		return 0
	}
	return 1
}
