package agent

import (
	"sync/atomic"
	"time"
)

// Clock tells the time since some moment in the past. It never runs backwards, and runs on while the process is stopped and while
// the machine sleeps. It is read for each publish.
type Clock func() time.Duration

// monotonic is a Clock that may stand still while the machine sleeps, for systems that have no better one.
func monotonic() Clock {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// Bounds of a sleepClock: how old the last reading of the slow clock may be, and how far the two fast ones may have come apart since.
const (
	sleepAge   = 50 * time.Millisecond
	sleepApart = 5 * time.Millisecond
)

// sleepClock makes a Clock that is as good as boot and nearly as cheap as the two fast clocks. boot, which knows of sleep, costs a system call
// (up to a microsecond where those are slow), so it is read only when its last reading is old by the monotonic clock, or
// when the wall clock has moved away from that, as it does in a sleep. So a sleep goes unnoticed only if the wall clock was set back, by
// as much, in the same few milliseconds.
func sleepClock(fast func() (mono, wall time.Duration), boot func() time.Duration) Clock {
	type reading struct {
		mono  time.Duration
		apart time.Duration // wall - mono
		ahead time.Duration // boot - mono
	}
	var last atomic.Pointer[reading]
	read := func() *reading {
		for {
			before := last.Load()
			mono, wall := fast()
			r := &reading{mono: mono, apart: wall - mono, ahead: boot() - mono}
			if before != nil {
				// Between the two readings this thread may have been put aside; what that adds must not be taken back later.
				r.ahead = max(r.ahead, before.ahead)
			}
			if last.CompareAndSwap(before, r) {
				return r
			}
		}
	}
	return func() time.Duration {
		mono, wall := fast()
		r := last.Load()
		if r == nil || mono-r.mono > sleepAge || (wall-mono-r.apart).Abs() > sleepApart {
			r = read()
		}
		return mono + r.ahead
	}
}
