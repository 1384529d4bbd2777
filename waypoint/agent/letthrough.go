package agent

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// letThrough counts the direct publishes that a router without a lease lets through, per address, in a bounded table. A period
// lasts from the end of one lease to the beginning of the next.
type letThrough struct {
	max       int
	temporary func(string) bool

	mu     sync.Mutex
	open   bool // isolated: publishes are let through and counted
	from   time.Time
	lapsed bool // there is a period at all
	period uint64
	counts map[string]uint64
	other  uint64
	total  uint64 // ever
}

// lapse begins a period.
func (l *letThrough) lapse(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lapsed {
		return
	}
	l.lapsed, l.from = true, at
	l.period++
	l.counts, l.other = map[string]uint64{}, 0
}

// begin has publishes let through.
func (l *letThrough) begin() {
	l.mu.Lock()
	l.open = true
	l.mu.Unlock()
}

// pass counts a publish. False: the period is over, look again.
func (l *letThrough) pass(address string) bool {
	if l.temporary(address) {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open {
		return false
	}
	l.total++
	if n, ok := l.counts[address]; ok || len(l.counts) < l.max {
		l.counts[address] = n + 1
	} else {
		l.other++
	}
	return true
}

// end ends the period and gives its report, if there was one.
func (l *letThrough) end(now time.Time) *peer.IsolatedReport {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lapsed {
		return nil
	}
	r := &peer.IsolatedReport{Period: l.period, From: l.from.UnixMilli(), Until: now.UnixMilli(), Other: l.other}
	for address, n := range l.counts {
		r.Counts = append(r.Counts, peer.IsolatedAddress{Address: address, Messages: n})
	}
	slices.SortFunc(r.Counts, func(a, b peer.IsolatedAddress) int { return cmp.Compare(a.Address, b.Address) })
	l.lapsed, l.open, l.counts, l.other = false, false, nil, 0
	return r
}

func (l *letThrough) totals() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}
