package raft

import (
	"slices"
	"time"
)

// The time in an entry is at most the latest time that a majority of the replicas' own clocks have reached, as they have
// told in this term, and never lower than in the entry before. So one wrong clock, whoever's, neither jumps time ahead
// (evicting by age everything at once) nor stops it; and after an outage of any length it is right as soon as a majority
// has reported. A report is the latest one, not the highest: a clock that has been put right counts as it is now. Without
// reports time stands still, and commands go on.

// reading is one voter's clock.
type reading struct {
	clock int64     // Unix milliseconds
	asked time.Time // when it was asked for, on this node's monotonic clock
	known bool
}

// majorityTime is the latest time that a majority of the voters have reached, by the readings asked for since the term
// began; false while fewer than a majority have told.
func majorityTime(voters []reading, since time.Time) (int64, bool) {
	var clocks []int64
	for _, r := range voters {
		if r.known && !r.asked.Before(since) {
			clocks = append(clocks, r.clock)
		}
	}
	need := len(voters)/2 + 1
	if len(clocks) < need {
		return 0, false
	}
	slices.Sort(clocks)
	return clocks[len(clocks)-need], true
}
