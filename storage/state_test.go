package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

func TestStateKeysAreOneGroups(t *testing.T) {
	s := openTest(t, testConfig(vfs.NewMem(), "d"))
	defer func() { must(t, s.Close()) }()
	for _, g := range []uint32{0, 1, 2, 1<<32 - 1} {
		b := stateOf(t, s, g).NewBatch()
		for _, k := range []string{"", "a", "b", "\x00", "\xff\xff"} {
			b.Set([]byte(k), fmt.Append(nil, g))
		}
		if b.Count() != 5 || b.Len() == 0 {
			t.Fatalf("batch of %d writes in %d bytes", b.Count(), b.Len())
		}
		must(t, b.Commit(uint64(g)))
		if b.Count() != 0 || b.Len() != 0 {
			t.Fatal("the batch is not empty after Commit")
		}
	}
	st := stateOf(t, s, 1)
	var seen []string
	must(t, st.Scan(nil, nil, func(k, v []byte) bool {
		seen = append(seen, fmt.Sprintf("%q=%s", k, v))
		return true
	}))
	if got := fmt.Sprint(seen); got != `[""=1 "\x00"=1 "a"=1 "b"=1 "\xff\xff"=1]` {
		t.Fatal(got)
	}
	b := st.NewBatch()
	b.DeleteRange([]byte("a"), []byte("b"))
	b.Delete([]byte("\x00"))
	b.Set([]byte("forgotten"), nil)
	b.Reset()
	must(t, b.Commit(2))
	if len(contents(t, st)) != 5 {
		t.Fatal("a batch that was reset has written")
	}
	b.DeleteRange([]byte("a"), []byte("b"))
	b.Delete([]byte("\x00"))
	must(t, b.Commit(3))
	if got := contents(t, st); len(got) != 3 || got["b"] != "1" {
		t.Fatal(got)
	}
	b.DeleteRange(nil, nil)
	must(t, b.Commit(4))
	if len(contents(t, st)) != 0 || len(contents(t, stateOf(t, s, 2))) != 5 || len(contents(t, stateOf(t, s, 0))) != 5 {
		t.Fatal("a range without bounds is not the group")
	}
}

func TestIterMoves(t *testing.T) {
	s := openTest(t, testConfig(vfs.NewMem(), "d"))
	defer func() { must(t, s.Close()) }()
	st := stateOf(t, s, 1)
	b := st.NewBatch()
	for i := range 10 {
		b.Set(fmt.Appendf(nil, "k%d", i), fmt.Appendf(nil, "v%d", i))
	}
	must(t, b.Commit(1))
	it, err := st.Iter([]byte("k2"), []byte("k8"))
	must(t, err)
	at := func(ok bool, want string) {
		t.Helper()
		got := ""
		if ok {
			got = string(it.Key()) + string(it.Value())
		}
		if got != want || it.Valid() != (want != "") || it.Error() != nil {
			t.Fatalf("at %q, want %q", got, want)
		}
	}
	at(it.First(), "k2v2")
	at(it.Prev(), "")
	at(it.Last(), "k7v7")
	at(it.Prev(), "k6v6")
	at(it.Next(), "k7v7")
	at(it.Next(), "")
	at(it.SeekGE([]byte("k45")), "k5v5")
	at(it.SeekGE([]byte("k0")), "k2v2")
	at(it.SeekGE([]byte("k8")), "")
	at(it.SeekLT([]byte("k45")), "k4v4")
	at(it.SeekLT([]byte("k2")), "")
	must(t, it.Close())
}

func TestSnapshotSeesOneMoment(t *testing.T) {
	s := openTest(t, testConfig(vfs.NewMem(), "d"))
	defer func() { must(t, s.Close()) }()
	st := stateOf(t, s, 1)
	b := st.NewBatch()
	b.Set([]byte("a"), []byte("1"))
	must(t, b.Commit(5))
	sn, err := st.Snapshot()
	must(t, err)
	b.Delete([]byte("a"))
	b.Set([]byte("b"), []byte("2"))
	must(t, b.Commit(6))
	v, err := sn.Get([]byte("a"))
	if err != nil || string(v) != "1" || sn.Applied() != 5 || len(contents(t, sn)) != 1 {
		t.Fatalf("%q %v applied %d", v, err, sn.Applied())
	}
	if _, err := sn.Get([]byte("b")); err != ErrNotFound {
		t.Fatal(err)
	}
	must(t, sn.Close())
	if got := contents(t, st); len(got) != 1 || got["b"] != "2" {
		t.Fatal(got)
	}
	own := errors.New("of the caller")
	if err := st.View([]byte("b"), func([]byte) error { return own }); err != own {
		t.Fatal(err)
	}
}

func TestAppliedNeverRunsBackwards(t *testing.T) {
	s := openTest(t, testConfig(vfs.NewMem(), "d"))
	defer func() { must(t, s.Close()) }()
	st := stateOf(t, s, 1)
	b := st.NewBatch()
	must(t, b.Commit(5))
	b.Set([]byte("k"), nil)
	if err := b.Commit(4); !errors.Is(err, ErrAppliedBackwards) {
		t.Fatal(err)
	}
	if b.Count() != 1 {
		t.Fatal("a refused batch is not as it was")
	}
	must(t, b.Commit(5))
	// A record above what was applied counts the log's no-ops in.
	must(t, st.PutSnapshotRecord(t.Context(), SnapshotRecord{Index: 8, Term: 2}))
	if st.Applied() != 8 {
		t.Fatalf("applied %d", st.Applied())
	}
	must(t, b.Commit(20))
	must(t, st.PutSnapshotRecord(t.Context(), SnapshotRecord{Index: 9, Term: 2, Version: 3, Configuration: []byte("c")}))
	if st.Applied() != 20 {
		t.Fatalf("applied %d", st.Applied())
	}
	if err := st.PutSnapshotRecord(t.Context(), SnapshotRecord{Index: 8}); !errors.Is(err, ErrAppliedBackwards) {
		t.Fatal(err)
	}
	r, err := st.SnapshotRecord()
	if err != nil || r.Index != 9 || r.Term != 2 || r.Version != 3 || string(r.Configuration) != "c" {
		t.Fatalf("%+v %v", r, err)
	}
}

// The record is not listed before it is durable, however long that takes.
func TestSnapshotRecordIsListedWhenItIsDurable(t *testing.T) {
	s := openTest(t, testConfig(vfs.NewMem(), "d"))
	defer func() { must(t, s.Close()) }()
	st := stateOf(t, s, 1)
	must(t, st.commitRecord(SnapshotRecord{Index: 7}))
	if _, err := st.SnapshotRecord(); err != ErrNotFound {
		t.Fatalf("listed before the flush: %v", err)
	}
	if d, err := st.DurableApplied(); err != nil || d != 0 {
		t.Fatal(d, err)
	}
	must(t, st.Flush(t.Context()))
	if r, err := st.SnapshotRecord(); err != nil || r.Index != 7 {
		t.Fatal(r, err)
	}
	canceled, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	if err := st.Flush(canceled); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

// A state that was flushed further once has lost something, even if its database has nothing to complain of.
func TestStateBelowItsMarkIsRefused(t *testing.T) {
	cfg := testConfig(vfs.NewMem(), "d")
	s := openTest(t, cfg)
	b := stateOf(t, s, 1).NewBatch()
	must(t, b.Commit(5))
	must(t, s.Close())
	fs := disk.VFS(cfg.FS)
	m, err := openMarks(fs, "d")
	must(t, err)
	must(t, m.update(func(before markSet) (markSet, error) {
		next := markSet{groups: maps.Clone(before.groups), manifests: before.manifests}
		marked := next.groups[1]
		if marked.applied != 5 {
			t.Errorf("Close has marked %+v", marked)
		}
		marked.applied = 6
		next.groups[1] = marked
		return next, nil
	}))
	must(t, m.close())
	s = openTest(t, cfg)
	defer func() { must(t, s.Close()) }()
	var c *CorruptError
	if _, err := s.State(1); !errors.As(err, &c) || c.Remedy == "" {
		t.Fatal(err)
	}
	if _, err := s.State(2); err != nil {
		t.Fatalf("another group: %v", err)
	}
}

// Whoever looks at any moment sees the writes of a batch together with its applied index.
func TestCommitIsAtomic(t *testing.T) {
	s := openTest(t, testConfig(vfs.NewMem(), "d"))
	defer func() { must(t, s.Close()) }()
	st := stateOf(t, s, 1)
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		b := st.NewBatch()
		for i := uint64(1); ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			b.Set([]byte("a"), fmt.Append(nil, i))
			b.Set([]byte("b"), fmt.Append(nil, i))
			if err := b.Commit(i); err != nil {
				done <- err
				return
			}
		}
	}()
	for st.Applied() == 0 {
		runtime.Gosched()
	}
	for range 3000 {
		sn, err := st.Snapshot()
		must(t, err)
		want := fmt.Sprint(sn.Applied())
		if got := contents(t, sn); got["a"] != want || got["b"] != want {
			t.Fatalf("%v at %s", got, want)
		}
		must(t, sn.Close())
	}
	close(stop)
	must(t, <-done)
}

// A state whose applied index is below its own record cannot have been written by this program.
func TestStateBelowItsRecordIsRefused(t *testing.T) {
	cfg := testConfig(vfs.NewMem(), "d")
	s := openTest(t, cfg)
	st := stateOf(t, s, 1)
	must(t, st.commitRecord(SnapshotRecord{Index: 7}))
	b := s.stateDB.NewBatch()
	st.commit(b, 3)
	must(t, s.Close())
	s = openTest(t, cfg)
	defer func() { must(t, s.Close()) }()
	var c *CorruptError
	if _, err := s.State(1); !errors.As(err, &c) || c.Remedy == "" {
		t.Fatal(err)
	}
}
