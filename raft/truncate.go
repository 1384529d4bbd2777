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
	applied, _, _ := g.fsm.at()
	if applied <= record || g.incoming.busy() {
		return false
	}
	if full := g.node.space().Level == storage.SpaceFull; g.outgoing.hold(full || g.log.Bytes() > g.cfg.PinnedBytes) {
		return false
	}
	switch bytes := g.bytesBetween(record, applied); {
	case bytes >= g.cfg.SnapshotBytes:
		return true
	case bytes < g.cfg.SnapshotBytes/4:
		return false
	}
	// The state was flushed anyway, behind the record: a snapshot now costs little.
	durable, err := g.state.DurableApplied()
	return err == nil && g.bytesBetween(record, durable) >= g.cfg.SnapshotBytes/4
}

// bytesBetween is what the entries above index a, up to and with b, take in the log: 0 if that can't be read now, which is for others to say.
func (g *Group) bytesBetween(a, b uint64) int64 {
	behindA, errA := g.log.BytesAfter(a)
	behindB, errB := g.log.BytesAfter(b)
	if errA != nil || errB != nil {
		return 0
	}
	return behindA - behindB
}

// snapshot blocks for the flush.
func (g *Group) snapshot(inst *instance) {
	trailing, err := g.trailing()
	if err != nil {
		return // the log has been closed, or has failed: others say so
	}
	rc := inst.raft.ReloadableConfig()
	rc.TrailingLogs = trailing
	if err := inst.raft.ReloadConfig(rc); err != nil {
		g.logger.Error("cannot set the number of trailing entries", "error", err)
		return
	}
	g.snapshotting.Store(true)
	defer g.snapshotting.Store(false)
	err = inst.await(g.ctx, func() hraft.Future { return inst.raft.Snapshot() })
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

// trailing is how many entries at the end of the log to keep behind a snapshot. Entries differ in size by a factor of thousands, so they are
// counted by their bytes, not by a mean of those that are there.
func (g *Group) trailing() (uint64, error) {
	n, err := g.log.EntriesWithin(g.cfg.TrailingBytes)
	return min(max(n, g.cfg.TrailingMin), g.cfg.TrailingMax), err
}
