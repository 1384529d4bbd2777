package leader

import (
	"sync/atomic"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// lookAtPressure asks whether there is room for what is to be kept, and tells all routers when that has changed.
func (r *reign) lookAtPressure() {
	now := r.l.cfg.Pressure()
	if now.Level == peer.LevelOK {
		now = peer.Pressure{}
	} else if now.RetryAfterMS == 0 {
		now.RetryAfterMS = r.retryAfter()
	}
	was := r.pressure
	if now == was {
		return
	}
	r.pressure = now
	r.l.metrics.pressure.Set(float64(now.Level))
	switch now.Level {
	case peer.LevelOK:
		r.l.log.Info("publishers have their credit again", "was", was.Level.String(), "reason", was.Reason.String())
	case peer.LevelLow:
		r.l.log.Warn("publishers have less credit", "reason", now.Reason.String(), "was", was.Level.String())
	default:
		r.l.log.Warn("publishes are refused", "reason", now.Reason.String(), "was", was.Level.String())
	}
	r.tellTopics(&peer.Topics{})
}

// pressureRefusal is why nothing is kept now, nil if something is.
func (r *reign) pressureRefusal() *peer.Refusal {
	p := r.pressure
	if p.Level < peer.LevelFull {
		return nil
	}
	return &peer.Refusal{Condition: condLimit, Reason: p.Reason, RetryAfterMS: p.RetryAfterMS}
}

// Memory bounds what the publishes that wait at all leaders of a node take together. Each router's window bounds what it
// sends to one of them; how many there are of both is not this node's choice.
type Memory struct {
	bound int64
	used  atomic.Int64
	level atomic.Uint32
}

// NewMemory makes one of bound bytes: publishers have less credit from half of it on, and above it publishes are refused.
func NewMemory(bound int64) *Memory { return &Memory{bound: bound} }

// Level says how much is left. The way back is an eighth of the bound longer than the way there, so that it does not flap.
func (m *Memory) Level() peer.Level {
	full, low := m.bound, m.bound/2
	before := peer.Level(m.level.Load())
	if before >= peer.LevelFull {
		full -= m.bound / 8
	}
	if before >= peer.LevelLow {
		low -= m.bound / 8
	}
	level := peer.LevelOK
	switch used := m.used.Load(); {
	case used > full:
		level = peer.LevelFull
	case used > low:
		level = peer.LevelLow
	}
	if level != before {
		m.level.Store(uint32(level))
	}
	return level
}

// Used is how many bytes wait.
func (m *Memory) Used() int64 { return m.used.Load() }

// countWaiting brings the node's account up to date with what waits here. Counting sessions, not publishes, it can't forget
// what a session took with it when it ended.
func (r *reign) countWaiting() {
	sum := int64(0)
	for s := range r.sessions {
		sum += s.waiting.Load()
	}
	r.l.account(sum)
}

// account says that so many bytes of publishes wait at this leader.
func (l *Leader) account(bytes int64) {
	if m := l.cfg.Memory; m != nil && bytes != l.accounted {
		m.used.Add(bytes - l.accounted)
		l.accounted = bytes
	}
}
