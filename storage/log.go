package storage

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// Entry is one entry of a log.
type Entry struct {
	Index      uint64
	Term       uint64
	Type       uint8
	Data       []byte
	Extensions []byte
	AppendedAt time.Time // zero, or wall time to the nanosecond
}

// Log is the log, the term and the vote of one group. Its methods may be called from any goroutine; those that
// write wait for each other, those that read do not wait for them.
//
// A log is one unbroken run of indexes (hashicorp/raft: a monotonic log store). An empty log may begin at any
// index. What it says in memory is always what is synced.
type Log struct {
	s     *Store
	group uint32

	wmu sync.Mutex // held by the one that writes, across its fsync

	mu       sync.RWMutex // guards all below; written only with wmu held too
	bounds   logBounds
	released logHeadRecord // what has been handed back to the disk
	hard     hardState
	marked   mark // the most that the marks file may say
	damage   error
	recent   recentEntries
}

// logBounds is what a log holds. All zero: nothing.
type logBounds struct {
	first, last uint64
	lastTerm    uint64
	before      uint64 // bytes counted before first
	cum         uint64 // bytes counted up to and with last
}

func (b logBounds) empty() bool { return b.last == 0 }

// logHeadRecord is the first entry that was not handed back, and the bytes before it.
type logHeadRecord struct{ first, before uint64 }

func newLog(s *Store, group uint32) *Log {
	return &Log{s: s, group: group, recent: recentEntries{limit: s.cfg.EntryCache}}
}

// First and Last are the bounds of the log, 0 and 0 when it is empty. They never block.
func (l *Log) First() uint64 { return l.snapshot().first }
func (l *Log) Last() uint64  { return l.snapshot().last }

// Tail is the last index with its term, 0 and 0 when the log is empty. It never blocks.
func (l *Log) Tail() (index, term uint64) {
	b := l.snapshot()
	return b.last, b.lastTerm
}

func (l *Log) snapshot() logBounds {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.bounds
}

// Entry returns the entry at index i, or ErrNotFound outside First..Last. Its bytes are the caller's to keep
// and nobody's to change: they may be shared with the cache of recent entries.
func (l *Log) Entry(i uint64) (Entry, error) {
	l.mu.RLock()
	inside := !l.bounds.empty() && i >= l.bounds.first && i <= l.bounds.last
	e, ok := l.recent.get(i)
	l.mu.RUnlock()
	if !inside {
		return Entry{}, ErrNotFound
	}
	if ok {
		return e, nil
	}
	leave, err := l.s.enter()
	if err != nil {
		return Entry{}, err
	}
	defer leave()
	stored, err := l.seek(i, parseEntry)
	return stored.Entry, err
}

// read fetches an entry from the database, for who holds wmu.
func (l *Log) read(i uint64) (storedEntry, error) {
	e, err := l.get(i, parseEntry)
	return e, l.missing(i, err)
}

// seek fetches an entry from the database, for who does not hold wmu. What a writer removes is gone from the database before its
// removal is synced, and only then from the bounds: so an entry is missed only when no writer is under way.
func (l *Log) seek(i uint64, parse func(key, value []byte) (storedEntry, error)) (storedEntry, error) {
	e, err := l.get(i, parse)
	if err == ErrNotFound {
		l.wmu.Lock()
		defer l.wmu.Unlock()
		e, err = l.get(i, parse)
	}
	return e, l.missing(i, err)
}

// missing ends the process when an entry was not found that must be there. The caller holds wmu if err is ErrNotFound.
func (l *Log) missing(i uint64, err error) error {
	if err != ErrNotFound {
		return err
	}
	if b := l.snapshot(); !b.empty() && i >= b.first && i <= b.last {
		err := fmt.Errorf("log of group %d: entry %d is missing: %w", l.group, i, ErrCorrupt)
		l.s.fail("corrupt data", &CorruptError{Path: l.s.path(disk.LogDir), Remedy: remedyLog, Err: err})
	}
	return ErrNotFound
}

func (l *Log) get(i uint64, parse func(key, value []byte) (storedEntry, error)) (storedEntry, error) {
	key := entryKey(make([]byte, 0, entryKeyLen), l.group, i)
	value, closer, err := l.s.logDB.Get(key)
	if err == pebble.ErrNotFound {
		return storedEntry{}, ErrNotFound
	}
	l.s.fail("log cannot be read", err)
	e, err := parse(key, value)
	if err != nil {
		err = fmt.Errorf("log of group %d: entry %d: %w", l.group, i, err)
		l.s.fail("corrupt data", &CorruptError{Path: l.s.path(disk.LogDir), Remedy: remedyLog, Err: err})
	}
	l.s.fail("log cannot be read", closer.Close())
	return e, nil
}

// Append adds entries, in order, and returns when they are synced. It blocks for the fsync, and on a full
// disk until there is space. Entries whose index the log has already replace everything from the first of
// them on, in the same atomic write; nothing above the last of them stays. Entries that leave a gap are
// refused with ErrGap, entries of a term below that of the entry before them with ErrTermBackwards. The bytes
// are copied.
func (l *Log) Append(entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	leave, err := l.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if l.damage != nil {
		return l.damage
	}
	at, err := l.placeOf(entries)
	if err != nil {
		return err
	}
	start := time.Now()
	last := &entries[len(entries)-1]
	if at.replaces && l.marked.before(last.Index, last.Term) {
		// What is there is older and longer, as far as the marks know: they are lowered first.
		if err := l.lowerMark(last.Index, last.Term); err != nil {
			return err
		}
	}
	next := l.commitEntries(entries, at)

	l.mu.Lock()
	defer l.mu.Unlock()
	if at.replaces {
		l.recent.cutFrom(entries[0].Index)
	}
	if at.begins {
		l.released = logHeadRecord{first: next.first, before: next.before}
	}
	l.bounds = next
	for i := range entries {
		e := entries[i]
		e.Data, e.Extensions = slices.Clone(e.Data), slices.Clone(e.Extensions)
		l.recent.add(e)
	}
	l.marked.index, l.marked.term = next.last, next.lastTerm
	l.s.dirty.Store(true)
	l.s.metrics.append.Observe(time.Since(start).Seconds())
	return nil
}

// place says how new entries join a log.
type place struct {
	begins   bool   // the log is empty, or replaced as a whole
	replaces bool   // there are entries from the first new one on
	cum      uint64 // bytes counted before the first new one
}

func (l *Log) placeOf(entries []Entry) (at place, err error) {
	b := l.bounds
	first := &entries[0]
	before := storedEntry{cum: b.cum} // what stays in front of the new entries
	before.Index, before.Term = b.last, b.lastTerm
	switch {
	case first.Index == 0:
		return at, fmt.Errorf("%w: index 0", ErrGap)
	case b.empty():
		at.begins = true
		before.Index = first.Index - 1
	case first.Index > b.last+1:
		return at, fmt.Errorf("%w: log of group %d ends at %d, entry %d", ErrGap, l.group, b.last, first.Index)
	case first.Index <= b.first:
		at.begins, at.replaces = true, true
		before = storedEntry{cum: b.before}
		before.Index = first.Index - 1
	case first.Index <= b.last:
		at.replaces = true
		if before, err = l.read(first.Index - 1); err != nil {
			return at, err
		}
	}
	at.cum = before.cum
	for i := range entries {
		e := &entries[i]
		if e.Index != before.Index+1 {
			return at, fmt.Errorf("%w: entry %d after %d", ErrGap, e.Index, before.Index)
		}
		if e.Term < before.Term {
			return at, fmt.Errorf("%w: entry %d of term %d after term %d", ErrTermBackwards, e.Index, e.Term, before.Term)
		}
		before.Index, before.Term = e.Index, e.Term
	}
	return at, nil
}

// commitEntries writes entries and the new last index in one synced batch.
func (l *Log) commitEntries(entries []Entry, at place) logBounds {
	next := l.bounds
	size := 256
	for i := range entries {
		size += int(entrySize(&entries[i])) + 16
	}
	b := l.s.logDB.NewBatchWithSize(size)
	if at.replaces {
		from := min(entries[0].Index, l.released.first)
		if !at.begins {
			from = entries[0].Index
		}
		l.s.fail("log cannot be written", b.DeleteRange(entryKey(nil, l.group, from), entriesEnd(l.group), nil))
	}
	if at.begins {
		next.first, next.before = entries[0].Index, at.cum
		l.s.fail("log cannot be written", b.Set(logKey(l.group, logHead), fixed(next.first, next.before), nil))
	}
	cum := at.cum
	for i := range entries {
		e := &entries[i]
		n := entrySize(e)
		cum += n
		op := b.SetDeferred(entryKeyLen, int(n)-entryKeyLen)
		entryKey(op.Key, l.group, e.Index)
		putEntry(op.Value, e, cum)
		l.s.fail("log cannot be written", op.Finish())
	}
	last := &entries[len(entries)-1]
	next.last, next.lastTerm, next.cum = last.Index, last.Term, cum
	l.s.fail("log cannot be written", b.Set(logKey(l.group, logTail), fixed(next.last, next.lastTerm, next.cum), nil))
	l.commit("append", b)
	return next
}

// commit syncs a batch. It returns only when that has been done: any error is the end of the process.
func (l *Log) commit(what string, b *pebble.Batch) {
	disk.Point(l.s.cfg.FS, what+".before")
	l.s.fail("log cannot be written", b.Commit(pebble.Sync))
	l.s.fail("log cannot be written", b.Close())
	disk.Point(l.s.cfg.FS, what+".synced")
}

// Term is the current term, 0 if none was ever set. It never blocks.
func (l *Log) Term() uint64 { return l.hardState().term }

// Vote is the last vote, false if there was none. It never blocks.
func (l *Log) Vote() (term uint64, candidate string, ok bool) {
	h := l.hardState()
	return h.voteTerm, h.candidate, h.voted
}

// Life counts how often this group has been reseeded in this data directory. A reseeded replica is a new
// member, so its server id has to include it: Identity().Replica and Life. It never blocks.
func (l *Log) Life() uint32 { return uint32(l.hardState().life) }

func (l *Log) hardState() hardState {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.hard
}

// SetTerm keeps the current term and returns when it is synced (at once, if it is kept already). A lower term
// is refused with ErrTermBackwards.
func (l *Log) SetTerm(term uint64) error {
	return l.updateHard("term", func(h *hardState) error {
		if term < h.term {
			return fmt.Errorf("%w: %d after %d", ErrTermBackwards, term, h.term)
		}
		h.term = term
		return nil
	})
}

// SetVote keeps a vote, term and candidate in one atomic write that also raises the current term to at least
// term, and returns when it is synced. A vote in a lower term than the last one is refused with
// ErrTermBackwards.
func (l *Log) SetVote(term uint64, candidate string) error {
	return l.updateHard("vote", func(h *hardState) error {
		if h.voted && term < h.voteTerm {
			return fmt.Errorf("%w: vote in term %d after %d", ErrTermBackwards, term, h.voteTerm)
		}
		h.voteTerm, h.candidate, h.voted = term, candidate, true
		h.term = max(h.term, term)
		return nil
	})
}

func (l *Log) updateHard(what string, change func(*hardState) error) error {
	leave, err := l.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if l.damage != nil {
		return l.damage
	}
	next := l.hard
	if err := change(&next); err != nil || next == l.hard {
		return err
	}
	b := l.s.logDB.NewBatch()
	l.s.fail("log cannot be written", b.Set(logKey(l.group, logHard), next.encode(), nil))
	l.commit(what, b)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hard = next
	l.marked.current = next.term
	l.s.dirty.Store(true)
	return nil
}
