package storage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// loadLogs reads every log once: a hole, which a lost file would leave in the middle, must be found before
// anybody votes with the log, and whoever uses the log reads it now anyway.
func (s *Store) loadLogs() error {
	groups, err := s.groupsInLog()
	if err != nil {
		return err
	}
	for g := range s.marks.last.groups {
		groups[g] = struct{}{}
	}
	for g := range groups {
		l := newLog(s, g)
		if err := l.load(); err != nil {
			return err
		}
		s.logs[g] = l
	}
	for g, m := range s.marks.last.groups {
		if err := s.logs[g].compare(m); err != nil {
			return err
		}
	}
	return nil
}

// groupsInLog steps from group to group.
func (s *Store) groupsInLog() (groups map[uint32]struct{}, err error) {
	it, err := s.logDB.NewIter(nil)
	if err != nil {
		return nil, err
	}
	groups = make(map[uint32]struct{})
	for ok := it.First(); ok; {
		group := binary.BigEndian.Uint32(it.Key())
		groups[group] = struct{}{}
		ok = it.SeekGE(logKey(group, 0xff))
	}
	return groups, errors.Join(it.Error(), it.Close())
}

// load reads a log. Only the record of its last index is believed: entries above it are removed.
func (l *Log) load() error {
	corrupt := func(err error) error {
		return &CorruptError{Path: l.s.path(disk.LogDir), Remedy: remedyLog, Err: fmt.Errorf("log of group %d: %w", l.group, err)}
	}
	var b logBounds
	var head logHeadRecord
	err := errors.Join(
		l.record(logHard, func(v []byte) (err error) { l.hard, err = parseHardState(v); return err }),
		l.record(logTail, func(v []byte) error { return parseFixed(v, &b.last, &b.lastTerm, &b.cum) }),
		l.record(logHead, func(v []byte) error { return parseFixed(v, &head.first, &head.before) }),
	)
	if err != nil {
		return corrupt(err)
	}
	if !b.empty() {
		if head.first == 0 || head.first > b.last {
			return corrupt(fmt.Errorf("it begins at %d and ends at %d", head.first, b.last))
		}
		b.first, b.before = head.first, head.before
		if err := l.verify(b); err != nil {
			return corrupt(err)
		}
	} else {
		head = logHeadRecord{}
	}
	if err := l.removeAbove(b.last); err != nil {
		return err
	}
	l.bounds, l.released = b, head
	l.marked = mark{life: l.hard.life, index: b.last, term: b.lastTerm, current: l.hard.term}
	return nil
}

func (l *Log) record(kind byte, parse func([]byte) error) error {
	v, closer, err := l.s.logDB.Get(logKey(l.group, kind))
	if err == pebble.ErrNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(parse(v), closer.Close())
}

// verify reads all entries: every index is there, terms do not run backwards, and the bytes add up.
func (l *Log) verify(b logBounds) error {
	it, err := l.s.logDB.NewIter(&pebble.IterOptions{
		LowerBound: entryKey(nil, l.group, b.first), UpperBound: entryKey(nil, l.group, b.last+1),
	})
	if err != nil {
		return err
	}
	prev := storedEntry{cum: b.before}
	prev.Index = b.first - 1
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		e, _, err := parseEntryHeader(it.Key(), value)
		switch {
		case err != nil:
		case e.Index != prev.Index+1:
			err = fmt.Errorf("entries %d to %d are missing", prev.Index+1, e.Index-1)
		case e.Term < prev.Term:
			err = fmt.Errorf("entry %d has term %d after %d", e.Index, e.Term, prev.Term)
		case e.cum != prev.cum+entryKeyLen+uint64(len(value)):
			err = fmt.Errorf("entry %d does not follow the one before it", e.Index)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
		prev = e
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return err
	}
	if prev.Index != b.last || prev.Term != b.lastTerm || prev.cum != b.cum {
		return fmt.Errorf("it should end at entry %d of term %d, the last one found is %d of term %d",
			b.last, b.lastTerm, prev.Index, prev.Term)
	}
	return nil
}

// removeAbove removes entries that the last index does not cover.
func (l *Log) removeAbove(last uint64) error {
	it, err := l.s.logDB.NewIter(&pebble.IterOptions{
		LowerBound: entryKey(nil, l.group, last+1), UpperBound: entriesEnd(l.group),
	})
	if err != nil {
		return err
	}
	left := it.First()
	if err := errors.Join(it.Error(), it.Close()); err != nil || !left {
		return err
	}
	l.s.cfg.Logger.Warn("entries above the last index are removed", "group", l.group, "last", last)
	return l.s.logDB.DeleteRange(entryKey(nil, l.group, last+1), entriesEnd(l.group), pebble.Sync)
}

// compare holds the log against what was once synced to it.
func (l *Log) compare(m mark) error {
	if m.life > l.hard.life {
		// A crash has cut off a Reseed.
		l.reborn(m.life)
		return nil
	}
	if m.life < l.hard.life {
		return nil // the slot with the newer mark was lost; this one speaks of an earlier life
	}
	if m.before(l.bounds.last, l.bounds.lastTerm) || l.hard.term < m.current {
		l.damage = &DamagedError{
			Path: l.s.path(disk.LogDir), Group: l.group, MarkIndex: m.index, MarkTerm: m.term, MarkCurrent: m.current,
			LastIndex: l.bounds.last, LastTerm: l.bounds.lastTerm, Current: l.hard.term,
		}
		l.marked = m
		l.s.cfg.Logger.Error("log is damaged: this replica must not vote", "group", l.group, reason(l.damage))
	}
	return nil
}
