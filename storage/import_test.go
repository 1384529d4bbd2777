package storage_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"syscall"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/storagetest"
)

// dump is a source state of some MiB, exported: header and chunks.
type dump struct {
	header storage.Header
	chunks [][]byte
	want   map[string]string
}

func makeDump(t testing.TB, mib int) dump {
	t.Helper()
	s := open(t, storagetest.Config(t, storagetest.New(), "source"))
	defer func() { must(t, s.Close()) }()
	st := stateOf(t, s, 3)
	d := dump{want: make(map[string]string)}
	b := st.NewBatch()
	for i := range mib * 16 {
		k, v := fmt.Sprintf("key %05d", i), fmt.Sprintf("%0*d", 64<<10, i)
		b.Set([]byte(k), []byte(v))
		d.want[k] = v
	}
	must(t, b.Commit(500))
	e, err := st.Export(t.Context())
	must(t, err)
	defer func() { must(t, e.Close()) }()
	d.header = e.Header()
	for n := uint64(0); ; n++ {
		c, last, err := e.Chunk(n)
		must(t, err)
		d.chunks = append(d.chunks, c)
		if last {
			return d
		}
	}
}

func contents(t testing.TB, st *storage.State) map[string]string {
	t.Helper()
	got := make(map[string]string)
	must(t, st.Scan(nil, nil, func(k, v []byte) bool { got[string(k)] = string(v); return true }))
	return got
}

// old gives a group a state of its own, durable.
func old(t testing.TB, s *storage.Store, group uint32) map[string]string {
	t.Helper()
	st := stateOf(t, s, group)
	b := st.NewBatch()
	for i := range 50 {
		b.Set(fmt.Appendf(nil, "old %03d", i), []byte("value"))
	}
	must(t, b.Commit(20))
	must(t, st.Flush(t.Context()))
	return contents(t, st)
}

// The power fails at every step of an import. Before Finish has done its one write the old state is there,
// whole; after it the new one, with its marks; and an import that was cut off goes on where it was durable.
func TestImportSurvivesAPowerLossAtEveryStep(t *testing.T) {
	d := makeDump(t, 4)
	for _, point := range []string{"import.table", "import.progress", "import.before", "import.ingested", "import.replaced", "import.cleaned"} {
		for skip := range 3 {
			for _, percent := range []int{0, 60} {
				t.Run(fmt.Sprintf("%s/%d/%d%%", point, skip, percent), func(t *testing.T) {
					crashImport(t, d, point, skip, percent)
				})
			}
		}
	}
}

func crashImport(t *testing.T, d dump, point string, skip, percent int) {
	fs := storagetest.New()
	s := open(t, storagetest.Config(t, fs, "data"))
	before := old(t, s, 1)
	neighbour := old(t, s, 0)
	s.SetTableBytes(1 << 20)
	crashed := fs.CrashAt(point, skip, percent, uint64(skip))
	finish(t, s, d, 0)
	must(t, s.Close())
	var after *storagetest.FS
	select {
	case after = <-crashed:
	default:
		if skip == 0 {
			t.Fatal("the point is never reached")
		}
		return
	}

	s = open(t, storagetest.Config(t, after, "data"))
	defer func() { must(t, s.Close()) }()
	st := stateOf(t, s, 1)
	got := contents(t, st)
	mark, restored := st.Restored()
	switch {
	case restored && mark.ID == d.header.ID && mark.Index == 500 && st.Applied() == 500 && maps.Equal(got, d.want):
		if point == "import.table" || point == "import.progress" || point == "import.before" {
			t.Errorf("the import shows before its time")
		}
		if r, err := st.SnapshotRecord(); err != nil || r.Index != 499 {
			t.Errorf("record %+v %v", r, err)
		}
	case !restored && st.Applied() == 20 && maps.Equal(got, before):
		if point != "import.table" && point != "import.progress" && point != "import.before" {
			t.Errorf("the import is gone")
		}
		least := uint64(0)
		if point == "import.progress" {
			least = uint64(skip + 1) // a table, and so a chunk at least, for each time that the point went by
		}
		finish(t, s, d, least)
		if !maps.Equal(contents(t, st), d.want) || st.Applied() != 500 {
			t.Error("going on with the import gives something else")
		}
	default:
		t.Errorf("half an import: restored %v at %d, applied %d, %d keys", restored, mark.Index, st.Applied(), len(got))
	}
	if !maps.Equal(contents(t, stateOf(t, s, 0)), neighbour) {
		t.Error("another group has changed")
	}
}

// finish imports what is left of a dump into group 1; at least that many chunks have survived.
func finish(t *testing.T, s *storage.Store, d dump, least uint64) {
	t.Helper()
	im, err := stateOf(t, s, 1).Import(d.header)
	must(t, err)
	if im.Next() < least {
		t.Errorf("only %d chunks have survived, %d were durable", im.Next(), least)
	}
	for !im.Done() {
		_, err := im.Put(d.chunks[im.Next()])
		must(t, err)
	}
	must(t, im.Finish(context.Background(), storage.SnapshotRecord{Index: 499, Term: 8, Configuration: []byte("c")}))
	if im.Close() != nil || im.Abort() != nil {
		t.Error("closing after Finish")
	}
}

func TestImportRefusesBadChunks(t *testing.T) {
	d, other := makeDump(t, 3), makeDump(t, 3)
	s := open(t, storagetest.Config(t, storagetest.New(), "data"))
	defer func() { must(t, s.Close()) }()
	before := old(t, s, 1)
	im, err := stateOf(t, s, 1).Import(d.header)
	must(t, err)
	for i, good := range d.chunks {
		flip := func(at int) []byte {
			b := append([]byte(nil), good...)
			b[at] ^= 1
			return b
		}
		for name, bad := range map[string][]byte{
			"first byte": flip(0), "middle": flip(len(good) / 2), "last byte": flip(len(good) - 1),
			"cut": good[:len(good)-9], "empty": nil, "of another export": other.chunks[i],
			"the one before": d.chunks[(i+len(d.chunks)-1)%len(d.chunks)],
		} {
			if _, err := im.Put(bad); !errors.Is(err, storage.ErrChunk) {
				t.Fatalf("chunk %d, %s: %v", i, name, err)
			}
			if im.Next() != uint64(i) {
				t.Fatalf("a bad chunk has moved the import to %d", im.Next())
			}
		}
		_, err := im.Put(good)
		must(t, err)
	}
	if _, err := im.Put(d.chunks[0]); !errors.Is(err, storage.ErrChunk) {
		t.Fatalf("a chunk behind the last: %v", err)
	}
	must(t, im.Abort())
	if err := im.Finish(t.Context(), storage.SnapshotRecord{}); !errors.Is(err, storage.ErrClosed) {
		t.Fatalf("finish after abort: %v", err)
	}
	if !maps.Equal(contents(t, stateOf(t, s, 1)), before) {
		t.Fatal("an aborted import has left something")
	}
	bad := d.header
	bad.Version = 9
	if _, err := stateOf(t, s, 1).Import(bad); !errors.Is(err, storage.ErrChunk) {
		t.Fatalf("header of another version: %v", err)
	}
	wire := d.header.Append([]byte("x"))[1:]
	wire[7] ^= 1
	if _, err := storage.ParseHeader(wire); !errors.Is(err, storage.ErrChunk) {
		t.Fatalf("damaged header: %v", err)
	}
}

// A disk that fails while chunks are staged fails the import, not the process: nothing depends on it yet.
func TestImportWithAFailingDiskBeginsAgain(t *testing.T) {
	d := makeDump(t, 3)
	fs := storagetest.New()
	s := open(t, storagetest.Config(t, fs, "data"))
	defer func() { must(t, s.Close()) }()
	s.SetTableBytes(1 << 20)
	for _, op := range []storagetest.Op{storagetest.Write, storagetest.Sync, storagetest.Create} {
		im, err := stateOf(t, s, 1).Import(d.header)
		must(t, err)
		from := im.Next()
		remove := fs.Inject(storagetest.Fault{Classes: []storagetest.Class{storagetest.Staging}, Op: op, Err: syscall.EIO})
		for err == nil && !im.Done() {
			_, err = im.Put(d.chunks[im.Next()])
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("%s: %v", op, err)
		}
		if err := im.Finish(t.Context(), storage.SnapshotRecord{}); !errors.Is(err, syscall.EIO) {
			t.Fatalf("%s: finish: %v", op, err)
		}
		remove()
		im.Close() // its error is the same once more
		if im, err = stateOf(t, s, 1).Import(d.header); err != nil || im.Next() < from {
			t.Fatalf("%s: goes on at %d, was at %d: %v", op, im.Next(), from, err)
		}
		must(t, im.Close())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	finish(t, s, d, 0)
	if !maps.Equal(contents(t, stateOf(t, s, 1)), d.want) {
		t.Fatal("not the whole state")
	}
}

func TestClosedImportGoesOnAndAnotherOneReplacesIt(t *testing.T) {
	d, other := makeDump(t, 4), makeDump(t, 2)
	fs := storagetest.New()
	s := open(t, storagetest.Config(t, fs, "data"))
	im, err := stateOf(t, s, 1).Import(d.header)
	must(t, err)
	for range 3 {
		_, err := im.Put(d.chunks[im.Next()])
		must(t, err)
	}
	must(t, im.Close())
	must(t, s.Close())
	s = open(t, storagetest.Config(t, fs, "data"))
	defer func() { must(t, s.Close()) }()
	if im, err = stateOf(t, s, 1).Import(d.header); err != nil || im.Next() != 3 {
		t.Fatalf("goes on at %d: %v", im.Next(), err)
	}
	must(t, im.Close())
	if im, err = stateOf(t, s, 1).Import(other.header); err != nil || im.Next() != 0 {
		t.Fatalf("another export goes on at %d: %v", im.Next(), err)
	}
	must(t, im.Close())
	finish(t, s, other, 0)
}

func TestExportOfNothing(t *testing.T) {
	s := open(t, storagetest.Config(t, storagetest.New(), "data"))
	defer func() { must(t, s.Close()) }()
	e, err := stateOf(t, s, 3).Export(t.Context())
	must(t, err)
	c, last, err := e.Chunk(0)
	if err != nil || !last {
		t.Fatal(last, err)
	}
	must(t, e.Close())
	old(t, s, 1)
	im, err := stateOf(t, s, 1).Import(e.Header())
	must(t, err)
	done, err := im.Put(c)
	if err != nil || !done {
		t.Fatal(done, err)
	}
	must(t, im.Finish(t.Context(), storage.SnapshotRecord{}))
	if st := stateOf(t, s, 1); st.Applied() != 0 || len(contents(t, st)) != 0 {
		t.Fatalf("applied %d", st.Applied())
	}
}

// An export that nobody asks for, and one that holds space on a full disk, is given up.
func TestExportsDoNotPinForEver(t *testing.T) {
	for name, act := range map[string]func(fs *storagetest.FS, cfg *storage.Config) func(){
		"idle": func(_ *storagetest.FS, cfg *storage.Config) func() {
			cfg.ExportIdle = 20 * time.Millisecond
			return func() {}
		},
		"full": func(fs *storagetest.FS, cfg *storage.Config) func() {
			fs.SetFree(1 << 30)
			return func() { fs.SetFree(cfg.FullSpace / 2) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := storagetest.New()
			cfg := storagetest.Config(t, fs, "data")
			then := act(fs, &cfg)
			s := open(t, cfg)
			defer func() { must(t, s.Close()) }()
			old(t, s, 1)
			e, err := stateOf(t, s, 1).Export(t.Context())
			must(t, err)
			then()
			until(t, "the export is gone", func() bool {
				// Asking keeps an idle one alive, so ask seldom.
				if name == "idle" {
					time.Sleep(5 * cfg.ExportIdle)
				}
				_, _, err := e.Chunk(0)
				return err == storage.ErrExportGone
			})
			must(t, e.Close())
			fs.SetFree(-1)
		})
	}
}

// While an export is open, commits are not held back, and what they delete is compacted away: only the
// export's own tables stay.
func TestExportHoldsNothingBack(t *testing.T) {
	s := open(t, storagetest.Config(t, storagetest.New(), "data"))
	defer func() { must(t, s.Close()) }()
	st := stateOf(t, s, 1)
	before := old(t, s, 1)
	e, err := st.Export(t.Context())
	must(t, err)
	b := st.NewBatch()
	for i := uint64(21); i < 400; i++ {
		b.Set(fmt.Append(nil, i), make([]byte, 8<<10))
		b.DeleteRange([]byte("old"), []byte("olf"))
		must(t, b.Commit(i))
	}
	c, last, err := e.Chunk(0)
	if err != nil || !last {
		t.Fatal(last, err)
	}
	must(t, e.Close())
	if e.Header().Index != 20 {
		t.Fatalf("export at %d", e.Header().Index)
	}
	im, err := stateOf(t, s, 2).Import(e.Header())
	must(t, err)
	_, err = im.Put(c)
	must(t, err)
	must(t, im.Finish(t.Context(), storage.SnapshotRecord{Index: 20}))
	if !maps.Equal(contents(t, stateOf(t, s, 2)), before) {
		t.Fatal("the export has seen later commits")
	}
}

func TestClearRemovesOneGroup(t *testing.T) {
	fs := storagetest.New()
	s := open(t, storagetest.Config(t, fs, "data"))
	old(t, s, 1)
	neighbour := old(t, s, 2)
	must(t, stateOf(t, s, 1).PutSnapshotRecord(t.Context(), storage.SnapshotRecord{Index: 20}))
	must(t, stateOf(t, s, 1).Clear(t.Context()))
	for range 2 {
		st := stateOf(t, s, 1)
		if _, err := st.SnapshotRecord(); st.Applied() != 0 || len(contents(t, st)) != 0 || err != storage.ErrNotFound {
			t.Fatalf("applied %d, %v", st.Applied(), err)
		}
		if !maps.Equal(contents(t, stateOf(t, s, 2)), neighbour) {
			t.Fatal("another group has changed")
		}
		crashed := fs.Crash(0, 0)
		must(t, s.Close())
		fs = crashed
		s = open(t, storagetest.Config(t, fs, "data"))
	}
	must(t, s.Close())
}
