package storage

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// releaseBytes is how much TruncateBefore gathers before it deletes a range: every deletion is a tombstone
// that later reads step over, and the space comes back by compaction, not at once.
const releaseBytes = 16 << 20

// TruncateBefore removes the entries below i, at most all of them. It is not synced: after a crash some of
// them may be back, always as one run with the rest. (When it removes all of them it is synced.) The space
// comes back later: removals are gathered until they are worth 16 MiB, or until ReleaseSpace.
func (l *Log) TruncateBefore(i uint64) error {
	leave, err := l.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	l.wmu.Lock()
	defer l.wmu.Unlock()
	b := l.bounds
	switch {
	case b.empty() || i <= b.first:
		return nil
	case i > b.last:
		return l.clear()
	}
	before, err := l.read(i - 1)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.bounds.first, l.bounds.before = i, before.cum
	l.recent.cutBefore(i)
	l.mu.Unlock()
	if before.cum-l.released.before >= l.s.releaseBytes {
		l.release()
	}
	return nil
}

// ReleaseSpace hands the entries removed by TruncateBefore back to the disk now. It does not wait for it.
func (l *Log) ReleaseSpace() error {
	leave, err := l.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if l.bounds.empty() || l.bounds.first == l.released.first {
		return nil
	}
	l.release()
	_, err = l.s.logDB.AsyncFlush()
	l.s.fail("log cannot be flushed", err)
	return nil
}

// release deletes what lies before first, and remembers first: later reads never start in front of the
// tombstones.
func (l *Log) release() {
	next := logHeadRecord{first: l.bounds.first, before: l.bounds.before}
	b := l.s.logDB.NewBatch()
	from, to := entryKey(nil, l.group, l.released.first), entryKey(nil, l.group, next.first)
	l.s.fail("log cannot be written", b.DeleteRange(from, to, nil))
	l.s.fail("log cannot be written", b.Set(logKey(l.group, logHead), fixed(next.first, next.before), nil))
	disk.Point(l.s.cfg.FS, "release.before")
	l.s.fail("log cannot be written", b.Commit(pebble.NoSync))
	l.s.fail("log cannot be written", b.Close())
	disk.Point(l.s.cfg.FS, "release.done")
	l.mu.Lock()
	l.released = next
	l.mu.Unlock()
}

// TruncateFrom removes the entries from i on and returns when that is synced. The tail mark is lowered,
// synced, before.
func (l *Log) TruncateFrom(i uint64) error {
	leave, err := l.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	l.wmu.Lock()
	defer l.wmu.Unlock()
	b := l.bounds
	switch {
	case l.damage != nil:
		return l.damage
	case b.empty() || i > b.last:
		return nil
	case i <= b.first:
		return l.clear()
	}
	last, err := l.read(i - 1)
	if err != nil {
		return err
	}
	if err := l.lowerMark(last.Index, last.Term); err != nil {
		return err
	}
	next := b
	next.last, next.lastTerm, next.cum = last.Index, last.Term, last.cum
	batch := l.s.logDB.NewBatch()
	l.s.fail("log cannot be written", batch.DeleteRange(entryKey(nil, l.group, i), entriesEnd(l.group), nil))
	l.s.fail("log cannot be written", batch.Set(logKey(l.group, logTail), fixed(next.last, next.lastTerm, next.cum), nil))
	l.commit("truncate", batch)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bounds = next
	l.recent.cutFrom(i)
	return nil
}

// clear empties the log, synced, with its mark lowered before.
func (l *Log) clear() error {
	if l.damage != nil {
		return l.damage
	}
	if err := l.lowerMark(0, 0); err != nil {
		return err
	}
	l.commit("truncate", l.clearBatch())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget()
	return nil
}

func (l *Log) clearBatch() *pebble.Batch {
	b := l.s.logDB.NewBatch()
	l.s.fail("log cannot be written", b.DeleteRange(entryKey(nil, l.group, 0), entriesEnd(l.group), nil))
	for _, kind := range []byte{logTail, logHead} {
		l.s.fail("log cannot be written", b.Delete(logKey(l.group, kind), nil))
	}
	return b
}

// forget is what clear means in memory.
func (l *Log) forget() {
	l.bounds, l.released = logBounds{}, logHeadRecord{}
	l.recent = recentEntries{limit: l.recent.limit}
}

// lowerMark makes the marks file say no more than (index, term) of this log, synced.
func (l *Log) lowerMark(index, term uint64) error {
	l.mu.Lock()
	l.marked.index, l.marked.term = index, term
	l.mu.Unlock()
	if err := l.s.updateMarks(); err != nil {
		l.s.fail("marks cannot be kept", err)
	}
	disk.Point(l.s.cfg.FS, "truncate.marked")
	return nil
}

// mark is the most that the marks file may say now.
func (l *Log) mark() mark {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.marked
}

// Damage is nil, or says that this log is shorter than what was once synced (*DamagedError). The replica must
// then neither vote nor stand for election until Reseed; Append, TruncateFrom, SetTerm and SetVote return the
// same error. It never blocks.
func (l *Log) Damage() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.damage
}

// Reseed forgets entries, term, vote, tail mark and damage, synced, and raises Life before. The state is left
// as it is.
func (l *Log) Reseed() error {
	leave, err := l.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	l.wmu.Lock()
	defer l.wmu.Unlock()
	life := max(l.hard.life, l.marked.life) + 1
	// The new life is durable before the old one is forgotten: a crash between the two is finished at Open.
	l.mu.Lock()
	l.marked = mark{life: life}
	l.mu.Unlock()
	l.s.fail("marks cannot be kept", l.s.updateMarks())
	disk.Point(l.s.cfg.FS, "reseed.marked")
	l.reborn(life)
	return nil
}

// reborn forgets everything but the number of the life that begins.
func (l *Log) reborn(life uint64) {
	hard := hardState{life: life}
	b := l.clearBatch()
	l.s.fail("log cannot be written", b.Set(logKey(l.group, logHard), hard.encode(), nil))
	l.commit("reseed", b)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget()
	l.hard, l.damage = hard, nil
	l.marked = mark{life: life}
}
