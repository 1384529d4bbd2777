package raft

import (
	"errors"
	"fmt"
	"time"
)

var errStalled = errors.New("the group's disk or state machine has stalled")

// watchdog looks after the groups' log writes and Applies. One that takes longer than StallLimit costs the group its
// streams, so that the other replicas elect a leader among them; longer than HangLimit ends the process. Time spent
// waiting for disk space counts for the first only: a full disk heals.
func (n *Node) watchdog() {
	every := min(n.cfg.StallLimit/10, 100*time.Millisecond)
	tick := time.NewTicker(max(every, time.Millisecond))
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		passed := now.Sub(last)
		last = now
		waiting := n.space().Waiting
		for _, g := range n.allGroups() {
			ops := []*operation{&g.logOp, &g.applyOp}
			if waiting {
				for _, o := range ops {
					o.excuse(passed)
				}
			}
			n.act(g, judge(ops, n.cfg.StallLimit, n.cfg.HangLimit))
		}
	}
}

func (n *Node) act(g *Group, j judgement) {
	switch j {
	case judgedHung:
		what := "an Apply"
		if _, counted := g.logOp.running(); counted > n.cfg.HangLimit {
			what = "a write to the log"
		}
		n.fatal("the disk hangs", fmt.Errorf("group %d: %s has not returned for %v", g.id, what, n.cfg.HangLimit))
	case judgedStalled:
		g.stall()
	case judgedFine:
		g.recover()
	}
}

// stall cuts the group's streams, once.
func (g *Group) stall() {
	g.mu.Lock()
	was := g.stalled
	g.stalled = true
	g.mu.Unlock()
	if was {
		return
	}
	g.counts.cuts.Add(1)
	g.logger.Warn("a log write or an Apply takes too long: this replica's streams are cut", "limit", g.cfg.StallLimit)
	g.streams.cut(errStalled)
}

// recover takes the streams back, if it was the watchdog that cut them and nobody else has since.
func (g *Group) recover() {
	g.mu.Lock()
	was := g.stalled
	g.stalled = false
	g.mu.Unlock()
	if was {
		g.logger.Info("the disk is back: this replica's streams are taken again")
		g.streams.resumeFrom(errStalled)
	}
}
