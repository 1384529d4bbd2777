package agent

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// maxReports bounds the reports that wait for meta; older ones are put together.
const maxReports = 16

// report has meta told what was let through in a period without a lease. The lock is held.
func (l *lease) report(r *peer.IsolatedReport) {
	r.Router, r.Boot = l.agent.cfg.Router, l.agent.cfg.Boot
	// The first one may be on its way already.
	if n := len(l.reports); n >= maxReports {
		l.reports[n-1] = join(l.reports[n-1], r)
	} else {
		l.reports = append(l.reports, r)
	}
	if !l.reporting {
		l.reporting = l.agent.begin(l.tellReports)
	}
}

// join makes one period of two, without the addresses: what they were has become too much.
func join(a, b *peer.IsolatedReport) *peer.IsolatedReport {
	out := &peer.IsolatedReport{Router: b.Router, Boot: b.Boot, Period: b.Period, From: a.From, Until: b.Until}
	for _, r := range []*peer.IsolatedReport{a, b} {
		out.Other += r.Other
		for _, c := range r.Counts {
			out.Other += c.Messages
		}
	}
	return out
}

// tellReports tells meta, in order, until it has taken all of them.
func (l *lease) tellReports() {
	for {
		l.mu.Lock()
		if len(l.reports) == 0 || l.agent.ctx.Err() != nil {
			l.reporting = false
			l.mu.Unlock()
			return
		}
		r := l.reports[0]
		l.mu.Unlock()
		if !l.tellReport(r) {
			continue
		}
		l.mu.Lock()
		l.reports = l.reports[1:]
		l.mu.Unlock()
	}
}

// tellReport tells whether meta has the report, or wants none of it.
func (l *lease) tellReport(r *peer.IsolatedReport) bool {
	body, err := json.Marshal(r)
	if err != nil {
		l.log.Error("report of what was let through", "error", err)
		return true
	}
	ctx, cancel := context.WithTimeout(l.agent.ctx, l.agent.cfg.OpenTimeout)
	defer cancel()
	_, err = l.agent.cfg.Hub.CallLeader(ctx, peer.MetaGroup, peer.OpIsolated, body)
	var refused *peer.Error
	if errors.As(err, &refused) {
		l.log.Error("meta refuses the report of what was let through", "period", r.Period, "error", err)
		return true
	}
	return err == nil
}
