//go:build !linux

package agent

// BootClock is the best Clock that this system has.
func BootClock() Clock { return monotonic() }
