package storage

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Store is one open data directory. All methods may be called from any goroutine.
type Store struct {
	cfg     Config
	fs      *guard
	space   *space
	metrics *metrics
	health  interface{ Close() error } // of the disk health checks
	lock    *pebble.Lock
	cache   *pebble.Cache

	identity identityFile
	marks    *marks
	logDB    *pebble.DB
	stateDB  *pebble.DB

	// gate is held shared by every call that uses a database, so that Close can wait for them.
	gate    sync.RWMutex
	closing atomic.Bool
	failure atomic.Pointer[error]
	failed  chan struct{}                // closed with failure
	once    sync.Once                    // of failure
	dirty   atomic.Bool                  // the marks are behind
	refused atomic.Pointer[CorruptError] // first damage that was met before the Store was open
	stop    chan struct{}
	wg      sync.WaitGroup
	slow    chan vfs.DiskSlowInfo

	tableBytes   int64  // of staged tables
	releaseBytes uint64 // see the constant
	closed       sync.Once
	result       error // of Close

	mu      sync.Mutex
	logs    map[uint32]*Log
	states  map[uint32]*State
	exports map[*Export]struct{}
}

func (s *Store) path(name string) string { return s.fs.PathJoin(s.cfg.Dir, name) }

// enter begins a call that uses a database; leave ends it. Calls never nest: a Close that waits between the
// two would wait for ever.
func (s *Store) enter() (leave func(), err error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	s.gate.RLock()
	if s.closing.Load() {
		s.gate.RUnlock()
		return nil, ErrClosed
	}
	return s.gate.RUnlock, nil
}

// Identity says what this data directory is. It never blocks.
func (s *Store) Identity() Identity { return s.identity.identity() }

// Err is nil until the Store has failed; then it is the error that every call returns. It never blocks.
func (s *Store) Err() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// fatal ends the process and never returns. It may be called with a database's locks held.
func (s *Store) fatal(msg string, err error) {
	s.once.Do(func() {
		all := fmt.Errorf("%s: %w", msg, err)
		s.failure.Store(&all)
		close(s.failed)
		s.cfg.Logger.Error("storage has failed: the process ends", reason(all))
		s.cfg.Fatal(msg, err)
	})
	select {}
}

// fail turns an unexpected error of a database into the end of the process. It returns only for nil.
func (s *Store) fail(msg string, err error) {
	if err != nil {
		s.fatal(msg, err)
	}
}

// Log returns the log of one group, always the same *Log for the same group. It reads nothing; a damaged log
// is told by Log.Damage.
func (s *Store) Log(group uint32) *Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.logs[group]
	if l == nil {
		l = newLog(s, group)
		s.logs[group] = l
	}
	return l
}

func (s *Store) openLogs() []*Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Log, 0, len(s.logs))
	for _, l := range s.logs {
		all = append(all, l)
	}
	return all
}

// State returns the replicated state of one group, always the same *State for the same group. A state that is
// older than what was once flushed, or below its own snapshot record, is refused with a *CorruptError.
func (s *Store) State(group uint32) (*State, error) {
	leave, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	s.mu.Lock()
	st := s.states[group]
	s.mu.Unlock()
	if st != nil {
		return st, nil
	}
	st, err = s.loadState(group)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if again := s.states[group]; again != nil {
		return again, nil
	}
	s.states[group] = st
	return st, nil
}

// Groups are the groups that this directory has a log or a mark of, in no particular order.
func (s *Store) Groups() []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]uint32, 0, len(s.logs))
	for g := range s.logs {
		all = append(all, g)
	}
	return all
}
