package storage

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// SpaceLevel is how much room the disk has.
type SpaceLevel int

const (
	SpaceOK   SpaceLevel = iota
	SpaceLow             // below Config.LowSpace: take durable publishes more slowly
	SpaceFull            // below Config.FullSpace, or writes wait for space: take none
)

func (l SpaceLevel) String() string {
	switch l {
	case SpaceOK:
		return "ok"
	case SpaceLow:
		return "low"
	case SpaceFull:
		return "full"
	}
	return "unknown"
}

// Space is what is known of the disk under the data directory.
type Space struct {
	Free    int64 // bytes, to this user; 0 with Total 0: unknown
	Total   int64
	Level   SpaceLevel
	Reserve int64 // bytes of the reserve file that are there now: 0 when it has been freed
	Waiting bool  // writes are waiting for space right now
}

// Space returns what the last look has found. It never blocks.
func (s *Store) Space() Space { return s.space.current() }

// WatchSpace calls fn with the present Space and then whenever Level, Waiting or the reserve changes, in
// order, on one goroutine; changes in quick succession may come as one. fn must not block for long, nor call
// Close or its own stop. stop waits for a running fn.
func (s *Store) WatchSpace(fn func(Space)) (stop func()) { return s.space.watch(fn) }

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// space watches the room on the disk and lets writers wait for it. A full disk must never become an error to
// a database: its write-ahead log would have to end the process, and its flushes would be tried again in a
// hot loop.
type space struct {
	fs       vfs.FS // not guarded by this space
	dir      string
	cfg      Config
	log      *slog.Logger
	interval time.Duration

	now atomic.Pointer[Space]

	mu         sync.Mutex
	wake       chan struct{} // closed, and made anew, to let the waiters try again
	waiters    int           // writers in wait
	since      int           // writers that came to wait since the last look
	full       bool          // from the first waiter until a look finds none
	owned      bool          // the directory is ours
	ended      bool          // no more waiting: the Store is closed
	reserve    int64         // bytes of the reserve file
	unknown    bool          // free space could not be asked for the last time
	making     bool          // the reserve file is being made
	retryAfter time.Time     // when to try to make the reserve again
	watchers   map[*spaceWatcher]struct{}

	poke chan struct{} // have a look now
	stop chan struct{}
	wg   sync.WaitGroup
}

func newSpace(fs vfs.FS, cfg Config) *space {
	sp := &space{
		fs: fs, dir: cfg.Dir, cfg: cfg, log: cfg.Logger, interval: cfg.SpaceInterval,
		wake:     make(chan struct{}),
		watchers: make(map[*spaceWatcher]struct{}),
		poke:     make(chan struct{}, 1),
		stop:     make(chan struct{}),
	}
	sp.now.Store(&Space{})
	return sp
}

// start lets those who wait try again now and then, until close.
func (sp *space) start() {
	sp.wg.Add(1)
	go func() {
		defer sp.wg.Done()
		tick := time.NewTicker(sp.interval)
		defer tick.Stop()
		for {
			select {
			case <-sp.stop:
				return
			case <-sp.poke:
			case <-tick.C:
				sp.release()
			}
			sp.look()
		}
	}()
}

// own is called when the directory is there and belongs to this Store. Only then is the disk looked at, and the
// reserve, which may be another Store's before.
func (sp *space) own() {
	sp.mu.Lock()
	sp.findReserveLocked()
	sp.owned = true
	sp.mu.Unlock()
	sp.look()
}

// close ends all waiting; waiters get their error. It is called once.
func (sp *space) close() {
	sp.mu.Lock()
	sp.ended = true
	close(sp.wake)
	sp.wake = make(chan struct{})
	watchers := sp.watchers
	sp.watchers = nil
	sp.mu.Unlock()
	close(sp.stop)
	for w := range watchers {
		w.end()
	}
	sp.wg.Wait()
}

func (sp *space) current() Space { return *sp.now.Load() }

// wait is called by a writer that has found no space. It frees the reserve, or waits until it is worth
// trying again. False: give up, the Store is closed.
func (sp *space) wait(path string) bool {
	sp.mu.Lock()
	if sp.ended {
		sp.mu.Unlock()
		return false
	}
	if sp.reserve > 0 {
		freed := sp.reserve
		sp.reserve = 0
		err := sp.fs.Remove(sp.reservePath())
		next := sp.current()
		next.Reserve = 0
		sp.publishLocked(next)
		sp.mu.Unlock()
		sp.log.Error("disk is full: the reserve is freed", "file", path, "bytes", freed, reason(err))
		sp.lookSoon()
		return true
	}
	if !sp.full {
		sp.full = true
		next := sp.current()
		next.Waiting = true
		sp.publishLocked(next)
		sp.log.Error("disk is full: writes wait for space, nothing is lost", "file", path, "free", next.Free)
		sp.lookSoon()
	}
	sp.waiters++
	sp.since++
	wake := sp.wake
	sp.mu.Unlock()

	<-wake

	sp.mu.Lock()
	sp.waiters--
	ended := sp.ended
	sp.mu.Unlock()
	return !ended
}

// blocks says whether somebody waits for space at this moment. (Space.Waiting lasts a little longer.)
func (sp *space) blocks() bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return sp.waiters > 0
}

// release lets the waiters try again. Trying is the only honest test for space: quotas and reserved blocks do
// not show in the free bytes.
func (sp *space) release() {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.full && sp.waiters == 0 && sp.since == 0 {
		sp.full = false
		sp.log.Info("there is space again: writes go on")
	}
	sp.since = 0
	if sp.waiters > 0 {
		close(sp.wake)
		sp.wake = make(chan struct{})
	}
}

func (sp *space) lookSoon() {
	select {
	case sp.poke <- struct{}{}:
	default:
	}
}

// look asks the disk, and makes the reserve when there is room for it.
func (sp *space) look() {
	sp.mu.Lock()
	owned := sp.owned
	sp.mu.Unlock()
	if !owned {
		return
	}
	usage, err := sp.fs.GetDiskUsage(sp.dir)
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if err != nil && !errors.Is(err, vfs.ErrUnsupported) {
		// What was known is believed on: a disk that was full is not empty because it can't be asked.
		if !sp.unknown {
			sp.log.Warn("free space can't be asked for; the last that was known counts", "dir", sp.dir, reason(err))
		}
		sp.unknown = true
		next := sp.current()
		next.Reserve, next.Waiting = sp.reserve, sp.full
		sp.publishLocked(next)
		return
	}
	sp.unknown = false
	next := Space{
		Free: int64(usage.AvailBytes), Total: int64(usage.TotalBytes),
		Reserve: sp.reserve, Waiting: sp.full,
	}
	sp.publishLocked(next)
	sp.maybeMakeReserveLocked(next)
}

// publishLocked makes next what is known, and tells the watchers if they care.
func (sp *space) publishLocked(next Space) {
	before := sp.current()
	next.Level = sp.level(before.Level, next)
	sp.now.Store(&next)
	if next.Level != before.Level {
		sp.log.Warn("disk space level changes", "from", before.Level.String(), "to", next.Level.String(), "free", next.Free)
	}
	if next.Level != before.Level || next.Waiting != before.Waiting || next.Reserve != before.Reserve {
		for w := range sp.watchers {
			w.tell()
		}
	}
}

// level has a way back that is an eighth wider than the way there, so that it does not flap.
func (sp *space) level(before SpaceLevel, now Space) SpaceLevel {
	if now.Waiting {
		return SpaceFull
	}
	if now.Total == 0 {
		return SpaceOK
	}
	full, low := sp.cfg.FullSpace, sp.cfg.LowSpace
	if before >= SpaceFull {
		full += full / 8
	}
	if before >= SpaceLow {
		low += low / 8
	}
	switch {
	case now.Free < full:
		return SpaceFull
	case now.Free < low:
		return SpaceLow
	}
	return SpaceOK
}

func (sp *space) reservePath() string { return sp.fs.PathJoin(sp.dir, disk.Reserve) }

// findReserveLocked takes over the reserve file of an earlier life.
func (sp *space) findReserveLocked() {
	if err := sp.fs.Remove(sp.reservePath() + disk.Temporary); err == nil {
		sp.log.Debug("an unfinished reserve file is removed")
	}
	if info, err := sp.fs.Stat(sp.reservePath()); err == nil {
		sp.reserve = info.Size()
	}
}

// maybeMakeReserveLocked makes the reserve file, on its own goroutine, when the disk would still have room
// afterwards.
func (sp *space) maybeMakeReserveLocked(now Space) {
	room := sp.cfg.LowSpace + sp.cfg.LowSpace/8 + sp.cfg.Reserve
	switch {
	case sp.cfg.Reserve <= 0, sp.reserve > 0, sp.making, sp.full, sp.ended:
		return
	case now.Total > 0 && now.Free < room:
		return
	case time.Now().Before(sp.retryAfter):
		return
	}
	sp.making = true
	sp.wg.Add(1)
	go func() {
		defer sp.wg.Done()
		err := sp.makeReserve()
		sp.mu.Lock()
		defer sp.mu.Unlock()
		sp.making = false
		if err != nil {
			sp.retryAfter = time.Now().Add(30 * time.Second)
			sp.log.Warn("the reserve file cannot be made", reason(err))
			return
		}
		sp.reserve = sp.cfg.Reserve
		sp.lookSoon()
	}()
}

// makeReserve writes bytes that do not compress, synced now and then: blocks that are only promised
// (fallocate, sparse files, compressing file systems) would not be there when they are needed.
func (sp *space) makeReserve() (err error) {
	tmp := sp.reservePath() + disk.Temporary
	f, err := sp.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, sp.fs.Remove(tmp))
		}
	}()
	if err := sp.fill(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return sp.fs.Rename(tmp, sp.reservePath())
}

func (sp *space) fill(f vfs.File) error {
	buf := make([]byte, 256<<10)
	x := uint64(0x9E3779B97F4A7C15)
	for left := sp.cfg.Reserve; left > 0; {
		select {
		case <-sp.stop:
			return ErrClosed
		default:
		}
		for i := 0; i+8 <= len(buf); i += 8 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			for j := range 8 {
				buf[i+j] = byte(x >> (8 * j))
			}
		}
		n, err := f.Write(buf[:min(int64(len(buf)), left)])
		if err != nil {
			return err
		}
		left -= int64(n)
		if left%(8<<20) == 0 {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	return f.Sync()
}
