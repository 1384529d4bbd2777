package storage

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// scrubPace is how many bytes a scrub reads before it sees whether it is ahead of its rate.
const scrubPace = 256 << 10

// scrubLoop reads every table of both databases soon after the start and then once an interval. A table may lie unread for weeks: what a
// disk did to it would be found when its replica is the only one left.
func (s *Store) scrubLoop() {
	defer s.wg.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-timer.C:
		}
		start := time.Now()
		n, err := s.scrub()
		switch {
		case err == nil:
			s.metrics.scrubbed.SetToCurrentTime()
			s.cfg.Logger.Info("all tables were read and are sound", "bytes", n, "took", time.Since(start).Round(time.Millisecond))
		case !errors.Is(err, ErrClosed):
			s.cfg.Logger.Warn("tables could not be read to see whether they are sound: tried again at the next scrub", reason(err))
		}
		timer.Reset(s.cfg.ScrubInterval)
	}
}

// scrub reads every block of every table there is and verifies its checksum, no faster than ScrubRate and beside the block cache. Damage
// ends the process as it would if somebody had asked for the block. It returns how many bytes were read.
func (s *Store) scrub() (int64, error) {
	p := &scrubPacer{s: s, start: time.Now()}
	for name, db := range map[string]*pebble.DB{disk.LogDir: s.logDB, disk.StateDir: s.stateDB} {
		if err := s.scrubDatabase(p, name, db); err != nil {
			return p.read, err
		}
	}
	return p.read, nil
}

func (s *Store) scrubDatabase(p *scrubPacer, name string, db *pebble.DB) error {
	tables, err := backingTables(db)
	if err != nil {
		return err
	}
	for table := range tables {
		var errno syscall.Errno
		path := s.fs.PathJoin(s.path(name), table+".sst")
		err := s.scrubTable(p, path)
		switch {
		case err == nil:
			continue
		case errors.Is(err, ErrClosed):
			return err
		case !isNotExist(err) && errors.As(err, &errno) && errno != syscall.EIO:
			// The system says no; that is no damage.
			return fmt.Errorf("%s: %w", path, err)
		}
		if now, err := backingTables(db); err != nil || !now[table] {
			continue // a compaction has replaced it meanwhile
		}
		s.corrupt(&CorruptError{Path: path, Remedy: s.remedy(name), Err: err})
	}
	return nil
}

// backingTables are the names of the files that hold a database's tables.
func backingTables(db *pebble.DB) (map[string]bool, error) {
	levels, err := db.SSTables()
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, level := range levels {
		for _, t := range level {
			names[t.BackingSSTNum.String()] = true
		}
	}
	return names, nil
}

func (s *Store) scrubTable(p *scrubPacer, path string) (err error) {
	f, err := s.fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(pacedFile{File: f, p: p})
	if err != nil {
		return errors.Join(err, f.Close())
	}
	defer func() {
		if r := recover(); r != nil { // what is read comes from a disk
			err = fmt.Errorf("%w: %v", pebble.ErrCorruption, r)
		}
	}()
	r, err := sstable.NewReader(context.Background(), readable, sstable.ReaderOptions{})
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// scrubPacer holds reads back to the rate of a scrub, and ends them when the Store stops.
type scrubPacer struct {
	s     *Store
	start time.Time
	read  int64
	paced int64 // of read, when it was last seen whether that is too much
}

func (p *scrubPacer) take(n int) error {
	if p.read += int64(n); p.read-p.paced < scrubPace {
		return nil
	}
	p.s.metrics.scrubBytes.Add(float64(p.read - p.paced))
	p.paced = p.read
	due := time.Duration(float64(p.read) / float64(p.s.cfg.ScrubRate) * float64(time.Second))
	wait := time.NewTimer(due - time.Since(p.start))
	defer wait.Stop()
	select {
	case <-p.s.stop:
		return ErrClosed
	case <-wait.C:
		return nil
	}
}

// pacedFile is a table that is read for a scrub.
type pacedFile struct {
	vfs.File
	p *scrubPacer
}

func (f pacedFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.p.take(len(b)); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}
