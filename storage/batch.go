package storage

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// Batch gathers writes to one group's state. It belongs to one goroutine. Writes in it are seen by no reader
// before Commit. The bytes given are copied.
type Batch struct {
	st *State
	b  *pebble.Batch // nil while empty
}

// Set writes a key.
func (b *Batch) Set(key, value []byte) {
	op := b.batch().SetDeferred(prefixLen+len(key), len(value))
	b.putKey(op.Key, stateUser, key)
	copy(op.Value, value)
	b.st.s.fail("batch cannot be built", op.Finish())
}

// Delete removes a key, if it is there.
func (b *Batch) Delete(key []byte) {
	op := b.batch().DeleteDeferred(prefixLen + len(key))
	b.putKey(op.Key, stateUser, key)
	b.st.s.fail("batch cannot be built", op.Finish())
}

// DeleteRange removes lower <= key < upper; nil means no bound.
func (b *Batch) DeleteRange(lower, upper []byte) {
	end := stateKey(b.st.group, stateEnd, nil)
	if upper != nil {
		end = stateKey(b.st.group, stateUser, upper)
	}
	b.st.s.fail("batch cannot be built", b.batch().DeleteRange(stateKey(b.st.group, stateUser, lower), end, nil))
}

// Len is the size of the batch in bytes, Count its number of writes.
func (b *Batch) Len() int {
	if b.b == nil {
		return 0
	}
	return b.b.Len()
}

func (b *Batch) Count() int {
	if b.b == nil {
		return 0
	}
	return int(b.b.Count())
}

// Commit makes the writes visible together with the applied index, atomically, and returns; nothing is
// synced. It blocks when the disk cannot keep up with flushing. applied may repeat, and never run backwards
// (ErrAppliedBackwards). An empty batch may be committed to move the index alone. After Commit the batch is
// empty and may be used again; after an error it is as it was.
func (b *Batch) Commit(applied uint64) error {
	st := b.st
	leave, err := st.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	start := time.Now()
	st.mu.Lock()
	defer st.mu.Unlock()
	if now := st.applied.Load(); applied < now {
		return fmt.Errorf("%w: group %d: %d after %d", ErrAppliedBackwards, st.group, applied, now)
	}
	disk.Point(st.s.cfg.FS, "commit.before")
	st.commit(b.batch(), applied)
	b.b = nil
	disk.Point(st.s.cfg.FS, "commit.done")
	st.s.metrics.apply.Observe(time.Since(start).Seconds())
	return nil
}

// commit adds the applied index to a batch and commits it. st.mu is held.
func (st *State) commit(b *pebble.Batch, applied uint64) {
	st.s.fail("batch cannot be built", b.Set(metaKey(st.group, metaApplied), fixed(applied), nil))
	st.s.fail("batch cannot be committed", b.Commit(pebble.NoSync))
	st.s.fail("batch cannot be committed", b.Close())
	st.applied.Store(applied)
}

// Reset empties the batch; Close gives it back. Neither writes.
func (b *Batch) Reset() { b.Close() }

// Close gives the batch's memory back. It may be used again afterwards.
func (b *Batch) Close() {
	if b.b != nil {
		b.st.s.fail("batch cannot be closed", b.b.Close())
		b.b = nil
	}
}

func (b *Batch) batch() *pebble.Batch {
	if b.b == nil {
		b.b = b.st.s.stateDB.NewBatch()
	}
	return b.b
}

func (b *Batch) putKey(dst []byte, kind byte, key []byte) {
	putPrefix(dst, b.st.group, kind)
	copy(dst[prefixLen:], key)
}
