package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
	"go.uber.org/goleak"
)

// testConfig is small and quick.
func testConfig(fs vfs.FS, dir string) Config {
	return Config{
		Dir: dir, FS: disk.New(fs, nil), Cluster: "c1", Node: "n1",
		LogMemory: 1 << 20, StateMemory: 1 << 18, Cache: 1 << 20, Reserve: -1,
		LowSpace: 2 << 20, FullSpace: 1 << 20,
		SpaceInterval: 2 * time.Millisecond, MarkInterval: 2 * time.Millisecond,
		Fatal: func(msg string, err error) { panic(fmt.Sprint("fatal: ", msg, ": ", err)) },
	}
}

func testLogger(t *testing.T) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("test", t.Name())
}

func openTest(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = testLogger(t)
	}
	s, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func stateOf(t *testing.T, s *Store, group uint32) *State {
	t.Helper()
	st, err := s.State(group)
	must(t, err)
	return st
}

// run makes entries first..last of a term.
func run(first, last, term uint64) []Entry {
	var all []Entry
	for i := first; i <= last; i++ {
		all = append(all, Entry{Index: i, Term: term, Data: fmt.Appendf(nil, "entry %d of term %d", i, term)})
	}
	return all
}

func TestOpenAgainFindsWhatWasKept(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"disk": vfs.Default, "memory": vfs.NewCrashableMem()} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(fs, filepath.Join(t.TempDir(), "a", "b"))
			s := openTest(t, cfg)
			id := s.Identity()
			l := s.Log(7)
			must(t, l.SetTerm(3))
			must(t, l.SetVote(4, "n2"))
			must(t, l.Append(run(1, 10, 4)))
			st := stateOf(t, s, 7)
			b := st.NewBatch()
			b.Set([]byte("k"), []byte("v"))
			must(t, b.Commit(9))
			must(t, s.Close())
			if err := s.Log(7).Append(run(11, 11, 4)); !errors.Is(err, ErrClosed) {
				t.Fatalf("append after close: %v", err)
			}

			s = openTest(t, cfg)
			defer func() { must(t, s.Close()) }()
			again := s.Identity()
			if again.Replica != id.Replica || again.Epoch != id.Epoch+1 || id.Replica == "" {
				t.Fatalf("identity %+v, before %+v", again, id)
			}
			l = s.Log(7)
			if l.First() != 1 || l.Last() != 10 || l.Term() != 4 {
				t.Fatalf("log %d..%d term %d", l.First(), l.Last(), l.Term())
			}
			if term, who, ok := l.Vote(); term != 4 || who != "n2" || !ok {
				t.Fatalf("vote %d %s %v", term, who, ok)
			}
			e, err := l.Entry(5)
			must(t, err)
			if string(e.Data) != "entry 5 of term 4" || e.Index != 5 || e.Term != 4 {
				t.Fatalf("entry %+v", e)
			}
			if _, err := l.Entry(11); err != ErrNotFound {
				t.Fatalf("entry 11: %v", err)
			}
			if err := l.Damage(); err != nil {
				t.Fatal(err)
			}
			st = stateOf(t, s, 7)
			if v, err := st.Get([]byte("k")); err != nil || string(v) != "v" || st.Applied() != 9 {
				t.Fatalf("%q %v applied %d", v, err, st.Applied())
			}
		})
	}
}

// A database's Fatalf that returned would have the write that has just failed reported as done.
func TestFatalfNeverReturns(t *testing.T) {
	cfg := testConfig(vfs.NewMem(), "d")
	called := make(chan error, 1)
	cfg.Fatal = func(msg string, err error) { called <- err }
	s := openTest(t, cfg)
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		databaseLogger{s: s, name: "log"}.Fatalf("write failed: %v", syscall.EIO)
	}()
	select {
	case err := <-called:
		if !errors.Is(err, syscall.EIO) || err.Error() != "write failed: "+syscall.EIO.Error() {
			t.Fatal(err)
		}
	case <-returned:
		t.Fatal("it returned, and nobody was told")
	}
	select {
	case <-returned:
		t.Fatal("it returned")
	case <-time.After(20 * time.Millisecond): // time enough to return, and no harm if it is not
	}
	if err := s.Log(1).Append(run(1, 1, 1)); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
}

func TestCloseEndsEveryGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	cfg := testConfig(vfs.NewCrashableMem(), "d")
	cfg.Reserve = 1 << 20
	s := openTest(t, cfg)
	must(t, s.Log(1).Append(run(1, 3, 1)))
	st := stateOf(t, s, 1)
	fill(t, st, 100, 1)
	e, err := st.Export(t.Context())
	must(t, err)
	s.WatchSpace(func(Space) {}) // neither is stopped by its user
	must(t, s.Close())
	if _, _, err := e.Chunk(0); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}

// The goal for a node that does nothing is a resident set below 40 MB; what the defaults of storage may take of it
// before anything is written is little: memtables start small and grow as they fill.
func TestIdleStoreIsSmall(t *testing.T) {
	cfg := testConfig(vfs.Default, filepath.Join(t.TempDir(), "d"))
	cfg.LogMemory, cfg.StateMemory, cfg.Cache = 0, 0, 0
	s := openTest(t, cfg)
	defer func() { must(t, s.Close()) }()
	var used uint64
	for _, db := range []*pebble.DB{s.logDB, s.stateDB} {
		m := db.Metrics()
		used += m.MemTable.Size + uint64(m.BlockCache.Size)
	}
	if used > 2<<20 {
		t.Fatalf("an idle store uses %d bytes of memtables and cache", used)
	}
}
