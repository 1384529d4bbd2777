package storage

import (
	"errors"
	"fmt"
	"log/slog"
)

var (
	// ErrNotFound says that there is no such entry, key or record. It is returned unwrapped, so that it may
	// be compared with == (hashicorp/raft does so with its own sentinel). It is never sticky.
	ErrNotFound = errors.New("not found")

	// ErrClosed is returned by every call on a Store that has been closed. Nothing was written.
	ErrClosed = errors.New("storage is closed")

	// ErrGap refuses an Append that does not continue the log. Nothing was written; it is the caller's bug.
	ErrGap = errors.New("entries do not continue the log")

	// ErrAppliedBackwards refuses a Commit below the applied index. Nothing was written; the caller's bug.
	ErrAppliedBackwards = errors.New("applied index runs backwards")

	// ErrTermBackwards refuses a term below the one that is kept. Nothing was written.
	ErrTermBackwards = errors.New("term runs backwards")

	// ErrLocked says that another process (or Store) has the data directory open.
	ErrLocked = errors.New("data directory is in use")

	// ErrIdentity says that the data directory belongs to another cluster or node than configured.
	ErrIdentity = errors.New("data directory belongs to another node")

	// ErrCorrupt marks every error that means damaged bytes; the *CorruptError in its chain names the file.
	ErrCorrupt = errors.New("corrupt data")

	// ErrExportGone says that an Export was closed, idle for too long, or given up for disk space. The
	// receiver begins again with a new Export.
	ErrExportGone = errors.New("export is gone")

	// ErrChunk refuses a chunk whose checksum, number or contents are wrong. The staged part before it stays
	// good; ask for the same chunk again.
	ErrChunk = errors.New("bad chunk")
)

// CorruptError names what is damaged and what an operator can do about it. errors.Is(err, ErrCorrupt) holds.
type CorruptError struct {
	Path   string // file or directory
	Remedy string // one sentence for the operator
	Err    error  // cause; may be nil
}

func (e *CorruptError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s is damaged: %s", e.Path, e.Remedy)
	}
	return fmt.Sprintf("%s is damaged: %v: %s", e.Path, e.Err, e.Remedy)
}

func (e *CorruptError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrCorrupt}
	}
	return []error{ErrCorrupt, e.Err}
}

// DamagedError says that a group's log is shorter than what was once synced to it: entries that this replica
// has acknowledged are gone. Such a replica has forgotten acknowledgements (and perhaps votes), so it must
// not vote, and comes back as a new member after Log.Reseed.
type DamagedError struct {
	Path                string // of the log database
	Group               uint32
	MarkIndex, MarkTerm uint64 // the entry that was synced once
	MarkCurrent         uint64 // the current term that was synced once
	LastIndex, LastTerm uint64 // the last entry that is there now
	Current             uint64 // the current term that is there now
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is damaged: the log of group %d was synced up to entry %d of term %d, in term %d, and now ends at entry %d of term %d, in term %d",
		e.Path, e.Group, e.MarkIndex, e.MarkTerm, e.MarkCurrent, e.LastIndex, e.LastTerm, e.Current)
}

func (e *DamagedError) Unwrap() error { return ErrCorrupt }

// reason is an error as an attribute of a log line. The database's errors carry stacks, which slog would print.
func reason(err error) slog.Attr {
	if err == nil {
		return slog.Attr{}
	}
	return slog.String("err", err.Error())
}
