package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// SnapshotRecord says up to where the log may be cut: the state holds everything up to Index.
type SnapshotRecord struct {
	Index         uint64
	Term          uint64
	Version       uint32 // of the record's user
	Configuration []byte
}

// PutSnapshotRecord keeps r instead of the record before, raises the applied index to at least r.Index
// (a log's no-op entries are never applied), flushes, and returns when all of it is durable. It may run
// beside commits. It blocks for the flush; after an error of ctx the record may or may not become durable.
// A record below the one before is refused.
func (st *State) PutSnapshotRecord(ctx context.Context, r SnapshotRecord) error {
	leave, err := st.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	if err := st.commitRecord(r); err != nil {
		return err
	}
	disk.Point(st.s.cfg.FS, "record.committed")
	if err := st.s.flushState(ctx); err != nil {
		return err
	}
	disk.Point(st.s.cfg.FS, "record.durable")
	return nil
}

func (st *State) commitRecord(r SnapshotRecord) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	var before SnapshotRecord
	err := st.s.view(st.s.stateDB, metaKey(st.group, metaRecord), func(v []byte) (err error) {
		before, err = parseSnapshotRecord(v)
		return err
	})
	if err != nil && err != ErrNotFound {
		return err
	}
	if r.Index < before.Index {
		return fmt.Errorf("%w: group %d: snapshot record at %d after %d", ErrAppliedBackwards, st.group, r.Index, before.Index)
	}
	b := st.s.stateDB.NewBatch()
	st.s.fail("batch cannot be built", b.Set(metaKey(st.group, metaRecord), r.encode(), nil))
	st.commit(b, max(st.applied.Load(), r.Index))
	return nil
}

// SnapshotRecord returns the record that would be there after a power loss now, or ErrNotFound. It reads
// from disk. The configuration is the caller's to keep.
func (st *State) SnapshotRecord() (SnapshotRecord, error) {
	leave, err := st.s.enter()
	if err != nil {
		return SnapshotRecord{}, err
	}
	defer leave()
	m, err := st.durableMeta()
	if err == nil && !m.hasRecord {
		err = ErrNotFound
	}
	return m.record, err
}

// stateMetadata is what storage keeps of a group's state beside its keys.
type stateMetadata struct {
	applied     uint64
	record      SnapshotRecord
	hasRecord   bool
	restored    Restored
	hasRestored bool
}

// durableMeta reads what has been flushed: a read that ignores the memtables is the only one that knows.
func (st *State) durableMeta() (m stateMetadata, err error) {
	it, err := st.s.stateDB.NewIter(&pebble.IterOptions{
		LowerBound:                stateKey(st.group, stateMeta, nil),
		UpperBound:                stateKey(st.group, stateUser, nil),
		OnlyReadGuaranteedDurable: true,
	})
	st.s.fail("state cannot be read", err)
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var value []byte
		if value, err = it.ValueAndErr(); err == nil {
			err = m.parse(it.Key()[prefixLen:], value)
		}
	}
	err = errors.Join(err, it.Error(), it.Close())
	if err != nil {
		err = &CorruptError{Path: st.s.path(disk.StateDir), Remedy: remedyState, Err: fmt.Errorf("state of group %d: %w", st.group, err)}
	}
	return m, err
}

func (m *stateMetadata) parse(name, value []byte) (err error) {
	if len(name) != 1 {
		return errRecord
	}
	switch name[0] {
	case metaApplied:
		err = parseFixed(value, &m.applied)
	case metaRecord:
		m.record, err = parseSnapshotRecord(value)
		m.hasRecord = true
	case metaRestored:
		m.restored, err = parseRestored(value)
		m.hasRestored = true
	}
	return err
}

// markable is what the marks file may say of the state: its durable applied index, but nothing that an import
// is about to replace.
func (st *State) markable() (uint64, error) {
	m, err := st.durableMeta()
	return min(m.applied, st.markCap.Load()), err
}
