package raft

import (
	"sync/atomic"
	"time"
)

// operation is something that must not take long: a write to the log, an Apply. One goroutine begins and ends it; the
// watchdog looks at it. Raft itself notices nothing: its leader's main loop sits in the write while its heartbeats go
// out (hashicorp/raft#503).
type operation struct {
	began   atomic.Int64 // nanoseconds since processStart, 0: idle
	excused atomic.Int64 // of that, nanoseconds spent waiting for disk space
}

var processStart = time.Now()

// sinceStart is a monotonic clock that fits into an atomic; never 0.
func sinceStart() int64 { return int64(time.Since(processStart)) + 1 }

func (o *operation) begin() {
	o.excused.Store(0)
	o.began.Store(sinceStart())
}

func (o *operation) end() { o.began.Store(0) }

// running is how long the operation has been going on, 0 if none is, and how much of that counts.
func (o *operation) running() (total, counted time.Duration) {
	b := o.began.Load()
	if b == 0 {
		return 0, 0
	}
	total = time.Duration(sinceStart() - b)
	return total, max(total-time.Duration(o.excused.Load()), 0)
}

// excuse takes d from what counts, if the operation is going on.
func (o *operation) excuse(d time.Duration) {
	if o.began.Load() != 0 {
		o.excused.Add(int64(d))
	}
}

// judgement is what the watchdog makes of a group's operations.
type judgement int

const (
	judgedFine    judgement = iota
	judgedStalled           // cut the group's streams, so that the others elect
	judgedHung              // end the process: a write that hangs this long is not coming back
)

func judge(ops []*operation, stall, hang time.Duration) judgement {
	worst := judgedFine
	for _, o := range ops {
		total, counted := o.running()
		switch {
		case counted > hang:
			return judgedHung
		case total > stall:
			worst = judgedStalled
		}
	}
	return worst
}
