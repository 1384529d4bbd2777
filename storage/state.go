package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// Reader reads a group's keys: a State as it is now, or a Snapshot as it was. Keys are compared as bytes and
// are the caller's own: the group's prefix is added and removed here.
type Reader interface {
	// Get returns a copy of the value, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// View calls fn with the value, which is valid until fn returns; ErrNotFound if there is none. It returns
	// fn's error.
	View(key []byte, fn func(value []byte) error) error
	// Iter iterates over lower <= key < upper; nil means no bound. It must be closed.
	Iter(lower, upper []byte) (*Iter, error)
	// Scan calls fn for each key in order, until fn returns false. Key and value are valid until fn returns.
	// fn may read and write the State.
	Scan(lower, upper []byte, fn func(key, value []byte) bool) error
}

var (
	_ Reader = (*State)(nil)
	_ Reader = (*Snapshot)(nil)
)

// State is the replicated state of one group: ordered keys, and the index up to which the log has been
// applied to them. It is not synced at each commit: after a crash it is as it was at some earlier commit,
// whole, and the log replays the rest. Its methods may be called from any goroutine; commits wait for each
// other.
type State struct {
	s     *Store
	group uint32

	mu       sync.Mutex // held by the one that commits or imports
	applied  atomic.Uint64
	restored atomic.Pointer[Restored]
	markCap  atomic.Uint64 // the most that the marks file may say of the durable applied index
	importer *Import       // guarded by Store.mu
}

// loadState reads what storage keeps of a group's state.
func (s *Store) loadState(group uint32) (*State, error) {
	st := &State{s: s, group: group}
	st.markCap.Store(^uint64(0))
	durable, err := st.durableMeta()
	if err != nil {
		return nil, err
	}
	st.applied.Store(durable.applied)
	if durable.hasRestored {
		st.restored.Store(&durable.restored)
	}
	refuse := func(format string, args ...any) error {
		return &CorruptError{Path: s.path(disk.StateDir), Remedy: remedyState,
			Err: fmt.Errorf("state of group %d: %w", group, fmt.Errorf(format, args...))}
	}
	if durable.hasRecord && durable.applied < durable.record.Index {
		return nil, refuse("applied index %d is below its snapshot record at %d", durable.applied, durable.record.Index)
	}
	if marked := s.marks.groups(group).applied; durable.applied < marked {
		return nil, refuse("it was flushed up to index %d once and is at %d now", marked, durable.applied)
	}
	return st, nil
}

// NewBatch returns an empty batch. Batches hold memory that is reused: Close them.
func (st *State) NewBatch() *Batch { return &Batch{st: st} }

// Get implements Reader.
func (st *State) Get(key []byte) (value []byte, err error) {
	err = st.View(key, func(v []byte) error {
		value = append([]byte{}, v...)
		return nil
	})
	return value, err
}

// View implements Reader. fn must not call the Store's Close.
func (st *State) View(key []byte, fn func(value []byte) error) error {
	leave, err := st.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	return st.s.view(st.s.stateDB, stateKey(st.group, stateUser, key), fn)
}

// view reads one key. Errors other than ErrNotFound and fn's own end the process.
func (s *Store) view(r pebble.Reader, key []byte, fn func(value []byte) error) error {
	value, closer, err := r.Get(key)
	if err == pebble.ErrNotFound {
		return ErrNotFound
	}
	s.fail("state cannot be read", err)
	err = fn(value)
	s.fail("state cannot be read", closer.Close())
	return err
}

// Iter implements Reader.
func (st *State) Iter(lower, upper []byte) (*Iter, error) {
	leave, err := st.s.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	return st.s.newIter(st.s.stateDB, st.group, lower, upper), nil
}

// Scan implements Reader.
func (st *State) Scan(lower, upper []byte, fn func(key, value []byte) bool) error {
	it, err := st.Iter(lower, upper)
	if err != nil {
		return err
	}
	return it.scan(fn)
}

// Snapshot is a consistent Reader of this moment. It must be closed, soon: while it is open, what is deleted
// takes space.
func (st *State) Snapshot() (*Snapshot, error) {
	leave, err := st.s.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	sn := &Snapshot{s: st.s, group: st.group, snap: st.s.stateDB.NewSnapshot()}
	err = st.s.view(sn.snap, metaKey(st.group, metaApplied), func(v []byte) error { return parseFixed(v, &sn.applied) })
	if err != nil && err != ErrNotFound {
		return nil, errors.Join(err, sn.snap.Close())
	}
	return sn, nil
}

// Applied is the index of the last commit. It never blocks.
func (st *State) Applied() uint64 { return st.applied.Load() }

// DurableApplied is the index that the state would have after a power loss now. It reads from disk.
func (st *State) DurableApplied() (uint64, error) {
	leave, err := st.s.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	m, err := st.durableMeta()
	return m.applied, err
}

// Restored says which Import this state comes from, false if none. It never blocks.
func (st *State) Restored() (Restored, bool) {
	if r := st.restored.Load(); r != nil {
		return *r, true
	}
	return Restored{}, false
}

// Flush makes everything committed before the call durable. It blocks for the disk; ctx ends the wait, not
// the flush. It flushes the states of all groups of the Store.
func (st *State) Flush(ctx context.Context) error {
	leave, err := st.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	return st.s.flushState(ctx)
}

func (s *Store) flushState(ctx context.Context) error {
	disk.Point(s.cfg.FS, "flush.before")
	flushed, err := s.stateDB.AsyncFlush()
	s.fail("state cannot be flushed", err)
	select {
	case <-flushed:
		disk.Point(s.cfg.FS, "flush.done")
		return nil
	case <-s.failed:
		return s.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Snapshot is a Reader of one moment. It implements Reader.
type Snapshot struct {
	s       *Store
	group   uint32
	snap    *pebble.Snapshot
	applied uint64
}

// Applied is the index of the last commit that the snapshot sees.
func (sn *Snapshot) Applied() uint64 { return sn.applied }

// Get implements Reader.
func (sn *Snapshot) Get(key []byte) (value []byte, err error) {
	err = sn.View(key, func(v []byte) error {
		value = append([]byte{}, v...)
		return nil
	})
	return value, err
}

// View implements Reader.
func (sn *Snapshot) View(key []byte, fn func(value []byte) error) error {
	leave, err := sn.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	return sn.s.view(sn.snap, stateKey(sn.group, stateUser, key), fn)
}

// Iter implements Reader.
func (sn *Snapshot) Iter(lower, upper []byte) (*Iter, error) {
	leave, err := sn.s.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	return sn.s.newIter(sn.snap, sn.group, lower, upper), nil
}

// Scan implements Reader.
func (sn *Snapshot) Scan(lower, upper []byte, fn func(key, value []byte) bool) error {
	it, err := sn.Iter(lower, upper)
	if err != nil {
		return err
	}
	return it.scan(fn)
}

// Close releases the snapshot. Its iterators must be closed before.
func (sn *Snapshot) Close() error { return sn.snap.Close() }
