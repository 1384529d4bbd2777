package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/storagetest"
)

// until waits for a condition that another goroutine brings about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func entry(i uint64) []storage.Entry {
	return []storage.Entry{{Index: i, Term: 1, Data: fmt.Appendf(nil, "entry %d", i)}}
}

// lines collects what is logged.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) contain(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), what)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// started runs fn and returns a channel that is closed when it is through.
func started(fn func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	return done
}

func isDone(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// A write or a sync that fails ends the process, and what it was for is never answered: not the append that
// failed, nor any after it. What was answered before is there after a power loss.
func TestFailedDiskIsFatalAndAnswersNothing(t *testing.T) {
	flush := func(st *storage.State) {
		b := st.NewBatch()
		b.Set([]byte("k"), []byte("v"))
		if b.Commit(1) == nil {
			st.Flush(context.Background())
		}
	}
	for name, c := range map[string]struct {
		fault storagetest.Fault
		act   func(l *storage.Log, st *storage.State) // returns only if it has been answered
	}{
		"wal sync": {
			storagetest.Fault{Classes: []storagetest.Class{storagetest.LogWAL}, Op: storagetest.Sync, Times: 1},
			func(l *storage.Log, _ *storage.State) { l.Append(entry(2)) },
		},
		"wal write": {
			storagetest.Fault{Classes: []storagetest.Class{storagetest.LogWAL}, Op: storagetest.Write, Times: 1},
			func(l *storage.Log, _ *storage.State) { l.Append(entry(2)) },
		},
		"wal sync of a vote": {
			storagetest.Fault{Classes: []storagetest.Class{storagetest.LogWAL}, Op: storagetest.Sync, Times: 1},
			func(l *storage.Log, _ *storage.State) { l.SetVote(5, "n2") },
		},
		"wal sync of a truncation": {
			storagetest.Fault{Classes: []storagetest.Class{storagetest.LogWAL}, Op: storagetest.Sync, Times: 1},
			func(l *storage.Log, _ *storage.State) { l.TruncateFrom(1) },
		},
		"state table write": {
			storagetest.Fault{Classes: []storagetest.Class{storagetest.StateTable}, Op: storagetest.Write},
			func(_ *storage.Log, st *storage.State) { flush(st) },
		},
		"state table sync": {
			storagetest.Fault{Classes: []storagetest.Class{storagetest.StateTable}, Op: storagetest.Sync},
			func(_ *storage.Log, st *storage.State) { flush(st) },
		},
		"manifest write": {
			storagetest.Fault{Classes: []storagetest.Class{storagetest.Manifest}, Op: storagetest.Write},
			func(_ *storage.Log, st *storage.State) { flush(st) },
		},
		"manifest sync": {
			storagetest.Fault{Classes: []storagetest.Class{storagetest.Manifest}, Op: storagetest.Sync},
			func(_ *storage.Log, st *storage.State) { flush(st) },
		},
		"marks write": {
			storagetest.Fault{Classes: []storagetest.Class{storagetest.Small}, Op: storagetest.Write, Times: 1},
			func(l *storage.Log, _ *storage.State) { l.TruncateFrom(1) },
		},
		"marks sync": {
			storagetest.Fault{Classes: []storagetest.Class{storagetest.Small}, Op: storagetest.Sync, Times: 1},
			func(l *storage.Log, _ *storage.State) { l.TruncateFrom(1) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs, fatal := storagetest.New(), storagetest.NewFatal()
			cfg := storagetest.Config(t, fs, "data")
			cfg.Fatal = fatal.Func
			if !strings.HasPrefix(name, "marks") {
				cfg.MarkInterval = time.Hour
			}
			s := open(t, cfg)
			l, st := s.Log(1), stateOf(t, s, 1)
			must(t, l.Append(entry(1)))
			c.fault.Err = syscall.EIO
			fs.Inject(c.fault)
			answered := started(func() { c.act(l, st) })
			<-fatal.Done()
			until(t, "the failure is known", func() bool { return s.Err() != nil })
			if !errors.Is(fatal.Err(), syscall.EIO) || !errors.Is(s.Err(), syscall.EIO) {
				t.Errorf("fatal %v, store %v", fatal.Err(), s.Err())
			}
			fs.Clear()
			for what, call := range map[string]func() error{
				"append":   func() error { return s.Log(2).Append(entry(1)) },
				"vote":     func() error { return s.Log(2).SetVote(1, "x") },
				"commit":   func() error { b := st.NewBatch(); b.Set(nil, nil); return b.Commit(9) },
				"truncate": func() error { return s.Log(2).TruncateFrom(1) },
				"flush":    func() error { return st.Flush(t.Context()) },
				"get":      func() error { _, err := st.Get(nil); return err },
			} {
				if err := call(); !errors.Is(err, syscall.EIO) {
					t.Errorf("%s after the failure: %v", what, err)
				}
			}
			if err := s.Close(); err == nil {
				t.Error("a failed store closes as if nothing were wrong")
			}
			if name != "state table write" && name != "state table sync" && !strings.HasPrefix(name, "manifest") && isDone(answered) {
				t.Error("the call that failed was answered")
			}
			after := open(t, storagetest.Config(t, fs.Crash(0, 0), "data"))
			defer func() { must(t, after.Close()) }()
			if e, err := after.Log(1).Entry(1); err != nil || string(e.Data) != "entry 1" {
				t.Errorf("entry 1 after the crash: %v", err)
			}
			if err := after.Log(1).Damage(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The disk fills up under everything that writes. Nobody sees an error; when there is space, all go on.
func TestFullDiskIsWaitedFor(t *testing.T) {
	fs := storagetest.New()
	cfg := storagetest.Config(t, fs, "data")
	log := &lines{}
	cfg.Logger = log.logger()
	fs.SetFree(8 << 20)
	s := open(t, cfg)
	var mu sync.Mutex
	var seen []storage.SpaceLevel
	stop := s.WatchSpace(func(sp storage.Space) {
		mu.Lock()
		defer mu.Unlock()
		if len(seen) == 0 || seen[len(seen)-1] != sp.Level {
			seen = append(seen, sp.Level)
		}
	})
	st := stateOf(t, s, 1)
	done := make(chan error, 2)
	const n = 1000
	go func() {
		var err error
		for i := uint64(1); i <= n && err == nil; i++ {
			err = s.Log(1).Append([]storage.Entry{{Index: i, Term: 1, Data: make([]byte, 16<<10)}})
		}
		done <- err
	}()
	go func() {
		var err error
		b := st.NewBatch()
		for i := uint64(1); i <= n && err == nil; i++ {
			b.Set(fmt.Append(nil, i), make([]byte, 8<<10))
			err = b.Commit(i)
		}
		done <- err
	}()
	until(t, "writes wait", func() bool { return s.Space().Waiting })
	if sp := s.Space(); sp.Level != storage.SpaceFull {
		t.Fatalf("%+v", sp)
	}
	// A little space at a time: every writer is turned away again and again.
	for range 20 {
		fs.SetFree(fs.Free() + 100<<10)
		time.Sleep(2 * cfg.SpaceInterval)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	fs.SetFree(1 << 30)
	must(t, <-done)
	must(t, <-done)
	must(t, st.Flush(t.Context()))
	until(t, "the level is ok again", func() bool { return s.Space().Level == storage.SpaceOK && !s.Space().Waiting })
	until(t, "the watcher knows", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) > 0 && seen[len(seen)-1] == storage.SpaceOK
	})
	stop()
	mu.Lock()
	levels := fmt.Sprint(seen)
	mu.Unlock()
	if !strings.Contains(levels, "full ok") && !strings.Contains(levels, "full low ok") {
		t.Errorf("levels %s", levels)
	}
	if !log.contain("disk is full") || !log.contain("there is space again") {
		t.Error("the log does not say so")
	}
	must(t, s.Close())
	s = open(t, storagetest.Config(t, fs.Crash(0, 0), "data"))
	defer func() { must(t, s.Close()) }()
	if s.Log(1).Last() != n || stateOf(t, s, 1).Applied() != n {
		t.Fatalf("last %d applied %d", s.Log(1).Last(), stateOf(t, s, 1).Applied())
	}
}

// A flush that finds no space is tried again by the database at once: it must not do so in a hot loop.
func TestFlushWithoutSpaceDoesNotSpin(t *testing.T) {
	for _, op := range []storagetest.Op{storagetest.Write, storagetest.Sync, storagetest.Create} {
		t.Run(op.String(), func(t *testing.T) {
			fs := storagetest.New()
			cfg := storagetest.Config(t, fs, "data")
			cfg.SpaceInterval = 20 * time.Millisecond
			s := open(t, cfg)
			st := stateOf(t, s, 1)
			b := st.NewBatch()
			b.Set([]byte("k"), []byte("v"))
			must(t, b.Commit(1))
			before := fs.Struck()
			remove := fs.Inject(storagetest.Fault{Classes: []storagetest.Class{storagetest.StateTable}, Op: op, Err: syscall.ENOSPC})
			flushed := started(func() { must(t, st.Flush(context.Background())) })
			until(t, "a few looks at the disk", func() bool { return fs.Struck()-before >= 3 })
			begun, struck := time.Now(), fs.Struck()
			time.Sleep(5 * cfg.SpaceInterval)
			looks := int(time.Since(begun)/cfg.SpaceInterval) + 2
			if n := fs.Struck() - struck; n > looks {
				t.Errorf("%d attempts in the time of %d looks at the disk", n, looks)
			}
			if isDone(flushed) {
				t.Error("flushed without space")
			}
			if err := s.Log(1).Append(entry(1)); err != nil {
				t.Errorf("the log has space: %v", err)
			}
			remove()
			<-flushed
			must(t, s.Close())
		})
	}
}

func TestReserveIsFreedAndMadeAgain(t *testing.T) {
	fs := storagetest.New()
	cfg := storagetest.Config(t, fs, "data")
	cfg.Reserve = 3 << 20
	log := &lines{}
	cfg.Logger = log.logger()
	fs.SetFree(100 << 20)
	s := open(t, cfg)
	until(t, "the reserve is made", func() bool { return s.Space().Reserve == cfg.Reserve })
	if files := fs.Files(t, "data", storagetest.Ballast); len(files) != 1 || fs.Size(t, files[0]) != cfg.Reserve {
		t.Fatalf("files %v", files)
	}
	fs.SetFree(10) // a vote fits only into what the reserve gives back
	must(t, s.Log(1).SetVote(1, "n1"))
	until(t, "the reserve is known to be gone", func() bool { return s.Space().Reserve == 0 })
	if len(fs.Files(t, "data", storagetest.Ballast)) != 0 || !log.contain("the reserve is freed") {
		t.Fatal("the reserve is there, or nobody said that it is not")
	}
	// Not before there is room for it and for the margin above the low level.
	fs.SetFree(cfg.LowSpace + cfg.Reserve)
	time.Sleep(20 * cfg.SpaceInterval)
	if s.Space().Reserve != 0 {
		t.Fatal("the reserve was made again although the disk is low with it")
	}
	fs.SetFree(100 << 20)
	until(t, "the reserve is made again", func() bool { return s.Space().Reserve == cfg.Reserve })
	must(t, s.Close())
	s = open(t, cfg)
	until(t, "it is taken over", func() bool { return s.Space().Reserve == cfg.Reserve })
	must(t, s.Close())
}

func TestOpenOnAFullDiskSaysSoAndWaits(t *testing.T) {
	fs := storagetest.New()
	s := open(t, storagetest.Config(t, fs, "data"))
	must(t, s.Log(1).Append(entry(1)))
	killed := fs.Kill()
	must(t, s.Close())

	// Not a limit of room: files that are no longer needed are removed meanwhile, which would give some back.
	remove := killed.Inject(storagetest.Fault{Op: storagetest.Write, Err: syscall.ENOSPC})
	cfg := storagetest.Config(t, killed, "data")
	log := &lines{}
	cfg.Logger = log.logger()
	ctx, cancel := context.WithCancelCause(t.Context())
	opened := make(chan error, 1)
	go func() {
		_, err := storage.Open(ctx, cfg)
		opened <- err
	}()
	until(t, "it says that the disk is full", func() bool { return log.contain("disk is full") })
	select {
	case err := <-opened:
		t.Fatalf("open returned without space: %v", err)
	default:
	}
	gone := errors.New("operator has lost patience")
	cancel(gone)
	if err := <-opened; !errors.Is(err, gone) || !strings.Contains(err.Error(), "disk is full") {
		t.Fatal(err)
	}
	// What was given up is done when there is space, and lets go of the directory.
	remove()
	until(t, "the directory is free again", func() bool {
		s, err := storage.Open(t.Context(), storagetest.Config(t, killed, "data"))
		if err != nil {
			if !errors.Is(err, storage.ErrLocked) {
				t.Fatal(err)
			}
			return false
		}
		defer func() { must(t, s.Close()) }()
		return s.Log(1).Last() == 1
	})
}

func TestCloseDoesNotWaitForAFullDisk(t *testing.T) {
	fs := storagetest.New()
	s := open(t, storagetest.Config(t, fs, "data"))
	must(t, s.Log(1).Append(entry(1)))
	b := stateOf(t, s, 1).NewBatch()
	b.Set([]byte("k"), []byte("v"))
	must(t, b.Commit(1))
	fs.Inject(storagetest.Fault{Op: storagetest.Write, Err: syscall.ENOSPC})
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "full") {
		t.Fatal(err)
	}
	s = open(t, storagetest.Config(t, fs.Crash(0, 0), "data"))
	defer func() { must(t, s.Close()) }()
	if s.Log(1).Last() != 1 {
		t.Fatal("what was synced is gone")
	}
}

// A disk that hangs holds back what must be synced, and nothing else; it is reported.
func TestHangingDiskHoldsBackOnlySyncs(t *testing.T) {
	fs := storagetest.New()
	cfg := storagetest.Config(t, fs, "data")
	cfg.SlowDisk = 5 * time.Millisecond
	cfg.MarkInterval = time.Hour
	log := &lines{}
	cfg.Logger = log.logger()
	s := open(t, cfg)
	must(t, s.Log(1).Append(entry(1)))
	release := make(chan struct{})
	fs.Inject(storagetest.Fault{Classes: []storagetest.Class{storagetest.LogWAL}, Op: storagetest.Sync, Hang: release})
	done := started(func() { must(t, s.Log(1).Append(entry(2))) })
	until(t, "the hanging disk is reported", func() bool { return log.contain("disk hangs") })
	if isDone(done) || s.Log(1).Last() != 1 {
		t.Fatal("an append is answered before it is synced")
	}
	if _, err := s.Log(1).Entry(2); err != storage.ErrNotFound {
		t.Fatalf("an entry can be read before it is synced: %v", err)
	}
	if e, err := s.Log(1).Entry(1); err != nil || e.Index != 1 {
		t.Fatal(err)
	}
	st := stateOf(t, s, 1)
	b := st.NewBatch()
	b.Set([]byte("k"), []byte("v"))
	must(t, b.Commit(1))
	fs.Clear()
	close(release)
	<-done
	if !log.contain("disk is slow") {
		t.Error("the slow sync is not reported")
	}
	must(t, s.Close())
}

func TestQuotaIsAFullDisk(t *testing.T) {
	fs := storagetest.New()
	s := open(t, storagetest.Config(t, fs, "data"))
	remove := fs.Inject(storagetest.Fault{Classes: []storagetest.Class{storagetest.LogWAL}, Op: storagetest.Write, Err: syscall.EDQUOT})
	done := started(func() { must(t, s.Log(1).Append(entry(1))) })
	until(t, "writes wait", func() bool { return s.Space().Waiting })
	remove()
	<-done
	must(t, s.Close())
}
