package raft

import (
	"errors"
	"time"

	hraft "github.com/hashicorp/raft"
	"github.com/posthouse/posthouse/storage"
)

// truncateInterval is how often a group's log is looked at.
const truncateInterval = 500 * time.Millisecond

// truncate keeps the group's log short, by bytes: Raft's own triggers count entries, and ours are up to 1 MiB. It has
// Raft record a snapshot (which flushes the state) and cut the log behind it, leaving some for replicas that are a
// little behind.
func (g *Group) truncate() {
	tick := time.NewTicker(truncateInterval)
	defer tick.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-tick.C:
		}
		g.incoming.tidy()
		if inst := g.instance(); inst != nil && g.wantsSnapshot() {
			g.snapshot(inst)
		}
	}
}

// wantsSnapshot decides. While a replica is being seeded from here, the log behind the record that it was promised stays;
// while one is being seeded here, the record is about to change.
func (g *Group) wantsSnapshot() bool {
	record := g.mark().index
	mean := meanEntry(g.log)
	applied, _, _ := g.fsm.at()
	if applied <= record || g.incoming.busy() {
		return false
	}
	if full := g.node.space().Level == storage.SpaceFull; g.outgoing.hold(full || g.log.Bytes() > g.cfg.PinnedBytes) {
		return false
	}
	behind := func(index uint64) int64 { return int64(index-min(index, record)) * mean }
	if behind(applied) >= g.cfg.SnapshotBytes {
		return true
	}
	if behind(applied) < g.cfg.SnapshotBytes/4 {
		return false
	}
	// The state was flushed anyway, behind the record: a snapshot now costs little.
	durable, err := g.state.DurableApplied()
	return err == nil && behind(durable) >= g.cfg.SnapshotBytes/4
}

// snapshot blocks for the flush.
func (g *Group) snapshot(inst *instance) {
	rc := inst.raft.ReloadableConfig()
	rc.TrailingLogs = trailing(g.cfg, meanEntry(g.log))
	if err := inst.raft.ReloadConfig(rc); err != nil {
		g.logger.Error("cannot set the number of trailing entries", "error", err)
		return
	}
	g.snapshotting.Store(true)
	defer g.snapshotting.Store(false)
	err := inst.await(g.ctx, func() hraft.Future { return inst.raft.Snapshot() })
	switch {
	case err == nil:
		g.counts.snapshots.Add(1)
		if g.node.space().Level != storage.SpaceOK {
			if err := g.log.ReleaseSpace(); err != nil && g.ctx.Err() == nil {
				g.logger.Warn("the log's space was not handed back", "error", err)
			}
		}
	case errors.Is(err, hraft.ErrNothingNewToSnapshot), errors.Is(err, hraft.ErrRaftShutdown), errors.Is(err, ErrClosed), g.ctx.Err() != nil:
	default:
		g.logger.Info("no snapshot was recorded", "error", err) // a configuration change is under way, most likely
	}
}

// trailing is how many entries to keep behind a snapshot.
func trailing(c *Config, mean int64) uint64 {
	return min(max(uint64(c.TrailingBytes/max(mean, 1)), c.TrailingMin), c.TrailingMax)
}

func meanEntry(log *storage.Log) int64 {
	first, last := log.First(), log.Last()
	if last == 0 {
		return 1
	}
	return max(log.Bytes()/int64(last-first+1), 1)
}
