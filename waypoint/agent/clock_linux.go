package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

// BootClock is the best Clock that this system has.
func BootClock() Clock {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return monotonic()
	}
	start := time.Now()
	fast := func() (mono, wall time.Duration) {
		now := time.Now()
		return now.Sub(start), time.Duration(now.UnixNano())
	}
	boot := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			return 0 // it worked before; the last reading stands
		}
		return time.Duration(ts.Nano())
	}
	return sleepClock(fast, boot)
}
