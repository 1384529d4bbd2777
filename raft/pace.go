package raft

import (
	"sync"
	"time"
)

// A replica keeps pace when it has, by its last word, what was committed a while before. To compare its last word with the
// commit index of now would be wrong by what is committed between two reports: under a steady load no replica would ever be
// given a vote or the leadership.

// pace remembers how the commit index has grown.
type pace struct {
	behind time.Duration // a replica may be this far behind

	mu      sync.Mutex
	samples []sample // ascending; the first is the latest that is old enough, if there is one
}

type sample struct {
	at     time.Time
	commit uint64
}

// newPace: a report is up to an interval old when it comes, and may be as old again until the next.
func newPace(cfg *Config) pace {
	return pace{behind: max(cfg.HeartbeatTimeout, 3*cfg.ReportInterval)}
}

// due notes the commit index of now, and returns the index that a replica must have to keep pace. Until commit indices have been
// noted for long enough, that is the one of now. Every check calls it.
func (p *pace) due(now time.Time, commit uint64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.samples); n == 0 || now.Sub(p.samples[n-1].at) >= p.behind/8 {
		p.samples = append(p.samples, sample{now, commit})
	}
	old := 0
	for old+1 < len(p.samples) && now.Sub(p.samples[old+1].at) >= p.behind {
		old++
	}
	p.samples = append(p.samples[:0], p.samples[old:]...)
	if now.Sub(p.samples[0].at) < p.behind {
		return commit
	}
	return p.samples[0].commit
}

// due is the index that a replica must have to be given a vote or the leadership.
func (inst *instance) due() uint64 { return inst.pace.due(time.Now(), inst.raft.CommitIndex()) }
