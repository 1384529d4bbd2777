package agent

import (
	"maps"
	"sync/atomic"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// pressureShare is the part of a window that is left while a shard is under pressure.
const pressureShare = 64

// refusing says what a shard refuses. It is never changed, only exchanged.
type refusing struct {
	all    *amqp.Error // everything, for this reason
	topics map[string]*amqp.Error
}

func (r *refusing) refuses(address string) *amqp.Error {
	if r.all != nil {
		return r.all
	}
	return r.topics[address]
}

// pressureWatch tells the router that Pressure may answer differently.
type pressureWatch struct {
	shards atomic.Int32 // under pressure
	f      atomic.Pointer[func()]
}

// OnPressure sets the function that is called when Pressure may answer differently. It must not block. Set it before the first Admit.
func (a *Agent) OnPressure(f func()) { a.pressure.f.Store(&f) }

func (a *Agent) pressureChanged() {
	if f := a.pressure.f.Load(); f != nil {
		(*f)()
	}
}

// capturesChanged: addresses may have come to a shard that is under pressure, or may be no longer captured.
func (a *Agent) capturesChanged() {
	if a.pressure.shards.Load() > 0 {
		a.pressureChanged()
	}
}

// Pressure says whether publishers to an address are to have less credit, as far as its shard's leader has told. It is not to be asked for each
// publish: Admit refuses what is to be refused.
func (a *Agent) Pressure(address string) peer.Pressure {
	if a.pressure.shards.Load() == 0 {
		return peer.Pressure{}
	}
	t := a.lease.table.Load()
	if !t.captured(address) {
		return peer.Pressure{}
	}
	s := t.shardOf(address)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.press
}

// bounds is how much may wait in the lane. The lock is held.
func (s *shard) bounds() (messages int, bytes int64) {
	cfg := &s.agent.cfg
	if s.press.Level == peer.LevelOK {
		return cfg.LaneMessages, cfg.LaneBytes
	}
	return max(cfg.LaneMessages/pressureShare, 1), max(cfg.LaneBytes/pressureShare, 1)
}

// topics takes what has changed in what the shard refuses.
func (s *shard) topics(m *peer.Topics) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string]*amqp.Error{}
	if old := s.refusing.Load(); old != nil {
		maps.Copy(next, old.topics)
	}
	for _, address := range m.Cleared {
		delete(next, address)
	}
	for i := range m.Refusing {
		t := &m.Refusing[i]
		next[t.Address] = refusalError(s.id, &t.Refusal)
	}
	s.setRefusing(next, m.Pressure)
}

// setRefusing exchanges what the shard refuses, and how much may wait for it. The lock is held; the router is told by the next turn.
func (s *shard) setRefusing(topics map[string]*amqp.Error, p peer.Pressure) {
	var next *refusing
	if p.Level >= peer.LevelFull {
		next = &refusing{all: refusalError(s.id, &peer.Refusal{Reason: p.Reason, RetryAfterMS: p.RetryAfterMS}), topics: topics}
	} else if len(topics) > 0 {
		next = &refusing{topics: topics}
	}
	if old := s.refusing.Swap(next); old != nil || next != nil {
		s.changed = true
	}
	if p != s.press {
		s.setPressure(p)
	}
}

// setPressure narrows or widens the lane. The lock is held.
func (s *shard) setPressure(p peer.Pressure) {
	switch {
	case s.press.Level == peer.LevelOK:
		s.agent.pressure.shards.Add(1)
	case p.Level == peer.LevelOK:
		s.agent.pressure.shards.Add(-1)
	}
	s.press, s.pressed = p, true
	s.noteFull() // what waits already may be too much now
}

// tellPressure tells people and the router. Only the shard's goroutine calls it.
func (s *shard) tellPressure(p peer.Pressure) {
	was := s.told
	s.told = p
	switch {
	case p == was:
	case p.Level == peer.LevelOK:
		s.log.Info("publishers have their credit again", "was", was.Level.String(), "reason", was.Reason.String())
	case p.Level == peer.LevelLow:
		s.log.Warn("publishers have less credit", "reason", p.Reason.String())
	default:
		s.log.Warn("publishes are refused", "reason", p.Reason.String())
	}
	s.agent.pressureChanged()
}
