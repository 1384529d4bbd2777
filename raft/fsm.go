package raft

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
	"github.com/posthouse/posthouse/storage"
)

// fsm stands between hashicorp/raft and a StateMachine: it opens envelopes, makes void what does not fit, commits each
// command's batch with its index and position, and puts an imported shard in the state's place. It implements
// BatchingFSM, since without that (or ConfigurationStore) Raft refuses to snapshot an idle group, whose log is then
// never cut.
type fsm struct {
	group *Group
	state *storage.State
	sm    StateMachine
	batch *storage.Batch
	op    *operation
	fatal func(msg string, err error) // does not return

	mu      sync.Mutex
	applied uint64
	pos     position
	config  configuration // the latest that is committed
	failed  error         // a commit that failed: nothing behind it may be applied
}

// configuration is a committed configuration and its index in the log.
type configuration struct {
	index   uint64
	servers []hraft.Server
}

func (c configuration) has(id string) bool {
	for _, s := range c.servers {
		if string(s.ID) == id {
			return true
		}
	}
	return false
}

var (
	_ hraft.BatchingFSM = (*fsm)(nil)
	_ hraft.FSMSnapshot = (*fsmSnapshot)(nil)
)

// applyResult is what Raft hands back to the proposer.
type applyResult struct {
	value any
	void  bool
	err   error
}

// load reads from the state what the fsm keeps in memory, and lets the state machine do the same.
func (f *fsm) load() error {
	v, err := f.state.Get(positionKey)
	var pos position
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return fmt.Errorf("read position: %w", err)
	default:
		if pos, err = parsePosition(v); err != nil {
			return fmt.Errorf("%w: %w", ErrContradiction, err)
		}
	}
	f.mu.Lock()
	f.pos, f.applied = pos, f.state.Applied()
	f.mu.Unlock()
	if err := f.sm.Restore(); err != nil {
		return fmt.Errorf("restore state machine: %w", err)
	}
	return nil
}

func (f *fsm) Apply(l *hraft.Log) any { return f.ApplyBatch([]*hraft.Log{l})[0] }

func (f *fsm) ApplyBatch(logs []*hraft.Log) []any {
	results := make([]any, len(logs))
	for i, l := range logs {
		results[i] = f.applyOne(l)
	}
	return results
}

func (f *fsm) applyOne(l *hraft.Log) applyResult {
	if l.Type == hraft.LogConfiguration {
		f.configured(l)
	}
	f.mu.Lock()
	applied, pos, failed := f.applied, f.pos, f.failed
	f.mu.Unlock()
	switch {
	case failed != nil:
		return applyResult{err: failed}
	case l.Index <= applied:
		return applyResult{} // a restart, or a transfer, that is ahead of Raft's own idea
	}
	began := time.Now()
	f.op.begin()
	r, pos := f.run(l, pos)
	err := f.batch.Commit(l.Index)
	f.op.end()
	f.group.observeApply(time.Since(began), r.void)
	f.mu.Lock()
	if err != nil {
		err = fmt.Errorf("commit entry %d: %w", l.Index, err)
		f.failed = err
	} else {
		f.applied, f.pos = l.Index, pos
	}
	f.mu.Unlock()
	if err != nil {
		return applyResult{err: err}
	}
	f.sm.Applied(l.Index)
	return r
}

// run fills the batch with what an entry does.
func (f *fsm) run(l *hraft.Log, pos position) (applyResult, position) {
	f.batch.Reset()
	if l.Type != hraft.LogCommand {
		return applyResult{}, pos
	}
	e, err := parseEnvelope(l.Extensions)
	if err != nil {
		f.fatal("cannot apply an entry of the log", fmt.Errorf("group %d, entry %d: %w", f.group.id, l.Index, err))
	}
	if !pos.fits(l.Term, e) {
		return applyResult{void: true}, pos
	}
	pos = pos.next(e)
	v := f.sm.Apply(f.batch, Entry{Index: l.Index, Term: l.Term, Time: pos.clock, Data: l.Data})
	f.batch.Set(positionKey, pos.append(nil))
	return applyResult{value: v}, pos
}

func (f *fsm) configured(l *hraft.Log) {
	c, err := decodeConfiguration(l.Data)
	if err != nil {
		f.fatal("cannot apply an entry of the log", fmt.Errorf("group %d, entry %d: %w", f.group.id, l.Index, err))
	}
	f.setConfig(configuration{l.Index, c.Servers})
}

func (f *fsm) setConfig(c configuration) {
	f.mu.Lock()
	if c.index >= f.config.index {
		f.config = c
	}
	f.mu.Unlock()
	f.group.configChanged()
}

// at returns where the state stands.
func (f *fsm) at() (applied uint64, pos position, c configuration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applied, f.pos, f.config
}

func (f *fsm) Snapshot() (hraft.FSMSnapshot, error) { return &fsmSnapshot{}, nil }

// fsmSnapshot: everything up to the snapshot's index is in the state database already; Persist makes it durable,
// beside Apply.
type fsmSnapshot struct{}

func (*fsmSnapshot) Persist(sink hraft.SnapshotSink) error {
	return sink.(*snapshotSink).persist()
}

func (*fsmSnapshot) Release() {}

// Restore is called when Raft has accepted a ticket: the shard was staged before. First the state is replaced, with the
// record in the same atomic step, then the log is cut: the other way round a crash in between would lose entries that
// this replica has acknowledged.
func (f *fsm) Restore(io.ReadCloser) error {
	g := f.group
	ticket := g.snapshots.takeTicket()
	if ticket == nil {
		return fmt.Errorf("restore group %d: no ticket", g.id)
	}
	g.snapshots.recmu.Lock()
	defer g.snapshots.recmu.Unlock()
	if err := g.install(ticket); err != nil {
		return fmt.Errorf("restore group %d: %w", g.id, err)
	}
	past, err := reconcileLog(g.log, ticket.Index, ticket.Term)
	if err != nil {
		return err
	}
	if past || g.snapshotting.Load() {
		// Raft's memory of its last entry (or of its last snapshot) is wrong from here on, and it could win an
		// election with it. No vote leaves this replica before it is opened again.
		g.reopen("its log reached past the installed snapshot")
	}
	f.setConfig(configuration{ticket.ConfigurationIndex, ticket.Configuration.Servers})
	return f.load()
}
