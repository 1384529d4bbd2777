package storage

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Close flushes the state, so that little is replayed at the next start, refreshes the tail marks and closes
// all files. Every Iter, Snapshot, Export and Import must be closed; later calls return ErrClosed. Close waits
// for calls in flight and for the flush, but not for a full or a failed disk: then it leaves everything as a
// crash would, says so in its error, and the directory stays locked until the process ends. A second Close
// returns the same.
func (s *Store) Close() error {
	s.closed.Do(func() {
		s.closing.Store(true)
		done := make(chan error, 1)
		if s.Err() == nil {
			go func() { done <- s.shutdown() }()
		}
		tick := time.NewTicker(s.cfg.SpaceInterval)
		defer tick.Stop()
		for {
			select {
			case s.result = <-done:
				return
			case <-s.failed:
				s.result = fmt.Errorf("storage is left as it is: %w", s.Err())
				return
			case <-tick.C:
				if s.space.blocks() {
					s.result = errors.New("storage is left as it is: disk is full")
					return
				}
			}
		}
	})
	return s.result
}

func (s *Store) shutdown() error {
	s.gate.Lock() // every call in flight is over; later ones see closing
	defer s.gate.Unlock()
	s.metrics.unregister(s.cfg.Registerer)
	close(s.stop)
	s.closeExports()
	s.wg.Wait()
	err := s.stateDB.Flush()
	// The databases may write until they are closed, but after that their durable state cannot be read.
	err = errors.Join(err, s.updateMarks())
	err = errors.Join(err, s.closeDatabases())
	err = errors.Join(err, s.updateManifestMarks(), s.marks.close())
	return errors.Join(err, s.closeDirectory())
}

func (s *Store) closeDatabases() (err error) {
	for _, db := range []*pebble.DB{s.logDB, s.stateDB} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if s.cache != nil {
		s.cache.Unref()
	}
	return err
}

// closeDirectory ends what works on the directory itself.
func (s *Store) closeDirectory() (err error) {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.wg.Wait()
	s.space.close()
	if s.lock != nil {
		err = s.lock.Close()
	}
	return errors.Join(err, s.health.Close())
}

// releaseAll gives back what a failed open has acquired.
func (s *Store) releaseAll() {
	s.closing.Store(true)
	s.metrics.unregister(s.cfg.Registerer)
	err := s.closeDatabases()
	if s.marks != nil && s.marks.file != nil {
		err = errors.Join(err, s.marks.close())
	}
	if err = errors.Join(err, s.closeDirectory()); err != nil {
		s.cfg.Logger.Warn("what was opened could not be closed", reason(err))
	}
}
