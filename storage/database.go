package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// format is explicit, and recorded in each database. It is raised only when all nodes of a cluster run a
// program that knows it.
const format = pebble.FormatNewest

const (
	// Not the log directory alone: what this node knows of its place in the cluster is in there, too.
	remedyLog   = "keep a copy, " + remedyNewReplica
	remedyState = "keep a copy, move the state directory away and start again: the state is then fetched from the other replicas"
)

// memtables of each database that may be in memory at once. More than two for the state: it has no other place
// for what is not flushed yet, and a stall of its commits holds back its group.
const (
	logMemtables   = 2
	stateMemtables = 4
)

// MemoryBudget is the most memory that the Store's caches and memtables take, in bytes: a number to count,
// not memory in use. It does not count what groups add: EntryCache each.
func (s *Store) MemoryBudget() int64 {
	// One memtable may be kept for reuse.
	return s.cfg.Cache + (logMemtables+1)*s.cfg.LogMemory + (stateMemtables+1)*s.cfg.StateMemory
}

// databaseOptions is what both databases have in common.
func (s *Store) databaseOptions(dir string) *pebble.Options {
	o := &pebble.Options{
		FS:                    s.fs,
		Cache:                 s.cache,
		FormatMajorVersion:    format,
		Logger:                databaseLogger{s: s, name: dir},
		EventListener:         s.listener(dir),
		FlushDelayDeleteRange: 10 * time.Second, // space comes back only after the range's deletion is flushed
		MaxOpenFiles:          500,
		ErrorIfNotExists:      true,
	}
	o.Experimental.FileCacheShards = 2
	// An import is done when it is durable, not when it is queued behind memtables that no log backs.
	o.Experimental.DisableIngestAsFlushable = func() bool { return true }
	for i := range o.Levels {
		o.Levels[i].BlockSize = 16 << 10
	}
	return o
}

func (s *Store) logOptions() *pebble.Options {
	o := s.databaseOptions(disk.LogDir)
	o.MemTableSize = uint64(s.cfg.LogMemory)
	o.MemTableStopWritesThreshold = logMemtables
	for i := range o.Levels {
		// Entries live shortly: the second copy is made fast rather than small.
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	return o
}

func (s *Store) stateOptions() *pebble.Options {
	o := s.databaseOptions(disk.StateDir)
	o.MemTableSize = uint64(s.cfg.StateMemory)
	o.MemTableStopWritesThreshold = stateMemtables
	o.DisableWAL = true
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// createDatabase makes a database that is not there. It is made under another name, closed and renamed: the
// first write-ahead log of a new database is begun before its format is raised, and has none of the offsets
// that tell a damaged one from a torn one, so nothing must ever be written to it.
func (s *Store) createDatabase(name string, o *pebble.Options) error {
	final, tmp := s.path(name), s.path(name+disk.Temporary)
	if err := s.fs.RemoveAll(tmp); err != nil && !isNotExist(err) {
		return err
	}
	o.ErrorIfNotExists = false
	o.ErrorIfExists = true
	db, err := openDatabase(tmp, o)
	if err != nil {
		return fmt.Errorf("create %s: %w", final, err)
	}
	if err := db.Close(); err != nil {
		return fmt.Errorf("create %s: %w", final, err)
	}
	disk.Point(s.cfg.FS, "create."+name)
	if err := s.fs.Rename(tmp, final); err != nil {
		return err
	}
	return syncDir(s.fs, s.cfg.Dir)
}

// openDatabase opens a database; what it would panic for is an error here, since the bytes come from a disk.
func openDatabase(dir string, o *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("%w: %v", pebble.ErrCorruption, r)
		}
	}()
	return pebble.Open(dir, o)
}

// openChecked opens a database that has been created, if need be by making it anew after an operator has moved
// it away, and turns what is wrong with it into an error that says what to do.
func (s *Store) openChecked(name, remedy string, options func() *pebble.Options) (*pebble.DB, error) {
	dir := s.path(name)
	there, err := exists(s.fs, dir)
	if err != nil {
		return nil, err
	}
	if !there {
		s.cfg.Logger.Warn("database is missing and made anew: what it held has to come from the other replicas", "dir", dir)
		if err := s.forgetDatabase(name); err != nil {
			return nil, err
		}
		if err := s.createDatabase(name, options()); err != nil {
			return nil, err
		}
	} else if m, ok := s.marks.last.manifests[name]; ok {
		if err := verifyManifest(s.fs, dir, m); err != nil {
			return nil, &CorruptError{Path: dir, Remedy: remedy, Err: err}
		}
	}
	if err := checkFormat(s.fs, dir); err != nil {
		return nil, err
	}
	db, err := openDatabase(dir, options())
	var errno syscall.Errno
	switch {
	case err == nil:
		return db, nil
	case errors.As(err, &errno) && errno != syscall.ENOENT:
		// The disk, or its owner, says no; that is no damage.
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	path := dir
	if suspect := s.fs.suspect(); s.fs.PathDir(suspect) == dir && pebble.IsCorruptionError(err) {
		path = suspect
	}
	return nil, &CorruptError{Path: path, Remedy: remedy, Err: err}
}

// checkFormat refuses a database of a program that is newer than this one: its files are sound, and nobody
// should be told to move them away.
func checkFormat(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, "marker.format-version.")
		if !ok {
			continue
		}
		_, value, _ := strings.Cut(rest, ".")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil && pebble.FormatMajorVersion(n) > format {
			return fmt.Errorf("%s was written by a newer program: format %d, this one knows %d", dir, n, format)
		}
	}
	return nil
}

// forgetDatabase takes out of the marks what they say of the files of a database that is gone, and of a state
// that is gone. What they say of logs stays: that is how a group learns that its log was lost.
func (s *Store) forgetDatabase(name string) error {
	return s.marks.update(func(before markSet) (markSet, error) {
		next := markSet{groups: maps.Clone(before.groups), manifests: maps.Clone(before.manifests)}
		delete(next.manifests, name)
		if name == disk.StateDir {
			for g, m := range next.groups {
				m.applied = 0
				next.groups[g] = m
			}
		}
		return next, nil
	})
}

// databaseLogger hands what a database says to slog. A database's own chatter is for debugging only.
type databaseLogger struct {
	s    *Store
	name string
}

func (l databaseLogger) Infof(format string, args ...any) {
	if log := l.s.cfg.Logger; log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("database", "db", l.name, "said", fmt.Sprintf(format, args...))
	}
}

func (l databaseLogger) Errorf(format string, args ...any) {
	l.s.cfg.Logger.Error("database", "db", l.name, "said", fmt.Sprintf(format, args...))
}

// Fatalf never returns: the database would go on and report the write that has just failed as done.
func (l databaseLogger) Fatalf(format string, args ...any) {
	err := error(databaseError{text: fmt.Sprintf(format, args...)})
	for _, arg := range args {
		if cause, ok := arg.(error); ok {
			err = databaseError{text: err.Error(), cause: cause}
		}
	}
	l.s.fatal("database "+l.name+" has failed", err)
}

// databaseError is what a database said when it gave up; its format does not wrap the cause.
type databaseError struct {
	text  string
	cause error
}

func (e databaseError) Error() string { return e.text }
func (e databaseError) Unwrap() error { return e.cause }

// listener reports what happens inside a database. Its functions are called with the database's locks held:
// they neither block nor call back.
func (s *Store) listener(name string) *pebble.EventListener {
	m := s.metrics
	return &pebble.EventListener{
		BackgroundError: func(err error) { s.backgroundError(name, err) },
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.corrupt(&CorruptError{Path: info.Path, Remedy: s.remedy(name), Err: info.Details})
		},
		FlushEnd: func(info pebble.FlushInfo) {
			if info.Err == nil {
				m.flushes.WithLabelValues(name).Inc()
				s.dirty.Store(true)
			}
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			m.stalls.WithLabelValues(name).Inc()
			s.cfg.Logger.Debug("writes are held back", "db", name, "reason", info.Reason)
		},
		ManifestCreated: func(pebble.ManifestCreateInfo) { s.dirty.Store(true) },
	}
}

// backgroundError decides what a failed flush or compaction means. One that found no space is tried again by
// the database, after the file system has waited for some. Any other one ends the process: the database would
// try again at once, for ever, and an I/O error or damage does not heal.
func (s *Store) backgroundError(name string, err error) {
	switch {
	case isNoSpace(err):
		s.cfg.Logger.Warn("flush or compaction found no space and is tried again", "db", name, reason(err))
	case pebble.IsCorruptionError(err):
		s.corrupt(&CorruptError{Path: s.path(name), Remedy: s.remedy(name), Err: err})
	default:
		s.fatal("flush or compaction of "+name+" has failed", err)
	}
}

// corrupt ends the process, or makes the Open that is going on refuse.
func (s *Store) corrupt(c *CorruptError) {
	if !s.fs.armed.Load() {
		s.refused.CompareAndSwap(nil, c)
		return
	}
	s.fatal("corrupt data", c)
}

func (s *Store) remedy(name string) string {
	if name == disk.LogDir {
		return remedyLog
	}
	return remedyState
}
