package raft

import (
	"errors"
	"fmt"
	"time"

	hraft "github.com/hashicorp/raft"
	"github.com/posthouse/posthouse/storage"
)

// logStore is a group's log as hashicorp/raft wants it. Storage errors are sticky there and end the process; what
// remains for here is to return exactly hraft.ErrLogNotFound, which Raft compares with ==: wrapped, no snapshot would
// ever be sent, and the follower starve.
//
// Raft is not told that the log is monotonic (it is): told so, it would drop the whole log after installing a snapshot,
// entries behind the snapshot included, and still believe in its last one (#697). reconcileLog does what is needed.
type logStore struct {
	log *storage.Log
	op  *operation
	// fatal does not return. It is called for what can only be a bug: an append that leaves a gap.
	fatal func(msg string, err error)
}

var _ hraft.LogStore = (*logStore)(nil)

func (s *logStore) FirstIndex() (uint64, error) { return s.log.First(), nil }
func (s *logStore) LastIndex() (uint64, error)  { return s.log.Last(), nil }

// failedPause is longer than a process takes to end.
const failedPause = 5 * time.Second

func (s *logStore) GetLog(index uint64, out *hraft.Log) error {
	e, err := s.log.Entry(index)
	if errors.Is(err, storage.ErrNotFound) {
		return hraft.ErrLogNotFound
	}
	if err != nil {
		if !errors.Is(err, storage.ErrClosed) {
			// The storage has failed and is ending the process, with its reason. Raft panics over an error here, and would be faster.
			time.Sleep(failedPause)
		}
		return fmt.Errorf("read entry %d: %w", index, err)
	}
	*out = hraft.Log{Index: e.Index, Term: e.Term, Type: hraft.LogType(e.Type), Data: e.Data, Extensions: e.Extensions, AppendedAt: e.AppendedAt}
	return nil
}

func (s *logStore) StoreLog(l *hraft.Log) error { return s.StoreLogs([]*hraft.Log{l}) }

func (s *logStore) StoreLogs(logs []*hraft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	entries := make([]storage.Entry, len(logs))
	for i, l := range logs {
		entries[i] = storage.Entry{Index: l.Index, Term: l.Term, Type: uint8(l.Type), Data: l.Data, Extensions: l.Extensions, AppendedAt: l.AppendedAt}
	}
	s.op.begin()
	err := s.log.Append(entries)
	s.op.end()
	if errors.Is(err, storage.ErrGap) {
		s.fatal("raft appended entries that leave a gap in the log", err)
	}
	return err
}

// DeleteRange removes min..max: the front (truncation behind a snapshot) or the end (a conflicting tail). Raft asks for
// nothing else; a hole would make the log lie.
func (s *logStore) DeleteRange(min, max uint64) error {
	first, last := s.log.First(), s.log.Last()
	switch {
	case last == 0 || max < first || min > last:
		return nil
	case min <= first:
		return s.log.TruncateBefore(max + 1)
	case max >= last:
		s.op.begin()
		defer s.op.end()
		return s.log.TruncateFrom(min)
	}
	return fmt.Errorf("delete entries %d to %d of %d to %d: would leave a hole", min, max, first, last)
}

// reconcileLog makes a log agree with a snapshot at (index, term) that the state holds, when one was installed and at
// every opening (a crash may have come between the two). What is in the log up to the snapshot is no longer needed; what
// is behind it is kept only if it continues it. hashicorp/raft keeps a conflicting tail for ever (#697).
// It says whether the log had reached past the snapshot, so that Raft's memory of its end may be wrong.
//
// The state must be durable at the snapshot before: entries that this replica has acknowledged go here.
func reconcileLog(log *storage.Log, index, term uint64) (past bool, err error) {
	first, last := log.First(), log.Last()
	past = last > index
	switch {
	case last == 0:
		return false, nil
	case first > index:
		// What was in front was cut behind a snapshot at least as new as this one, or was never there: entries at index+1
		// were appended behind this very snapshot. (A gap is for agree to refuse.)
		return past, nil
	case last >= index:
		e, err := log.Entry(index)
		if err != nil {
			return past, fmt.Errorf("compare the log with the snapshot at %d: %w", index, err)
		}
		if e.Term == term {
			return past, nil
		}
	}
	if err := log.TruncateFrom(first); err != nil {
		return past, fmt.Errorf("cut the log behind the snapshot at %d: %w", index, err)
	}
	return past, nil
}
