package rafttest

import (
	"sync"
	"time"
)

// Clock is a wall clock that may be wrong. Its zero value is right.
type Clock struct {
	mu     sync.Mutex
	offset time.Duration
	stood  time.Time // zero: it runs
}

// Now is what the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stood.IsZero() {
		return c.stood
	}
	return time.Now().Add(c.offset)
}

// Set puts the clock off by d (ahead, if positive) and makes it run.
func (c *Clock) Set(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset, c.stood = d, time.Time{}
}

// Stop stops the clock.
func (c *Clock) Stop() {
	now := c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stood = now
}
