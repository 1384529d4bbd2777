package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fill commits n keys with values of some KiB, and returns what the state should hold.
func fill(t *testing.T, st *State, n int, applied uint64) map[string]string {
	t.Helper()
	want := make(map[string]string)
	rng := rand.New(rand.NewPCG(uint64(n), applied))
	b := st.NewBatch()
	defer b.Close()
	for i := range n {
		value := make([]byte, 100+rng.IntN(8000))
		for j := range value {
			value[j] = byte(rng.Uint32())
		}
		key := fmt.Sprintf("key %06d", i)
		b.Set([]byte(key), value)
		want[key] = string(value)
		if b.Len() > 100<<10 {
			must(t, b.Commit(applied))
		}
	}
	must(t, b.Commit(applied))
	return want
}

func contents(t *testing.T, r Reader) map[string]string {
	t.Helper()
	got := make(map[string]string)
	must(t, r.Scan(nil, nil, func(k, v []byte) bool {
		got[string(k)] = string(v)
		return true
	}))
	return got
}

func chunksOf(t *testing.T, e *Export) [][]byte {
	t.Helper()
	var all [][]byte
	for n := uint64(0); ; n++ {
		c, last, err := e.Chunk(n)
		must(t, err)
		all = append(all, c)
		if last {
			return all
		}
	}
}

func TestTransferMovesOneStateWhole(t *testing.T) {
	fs := vfs.NewCrashableMem()
	from := openTest(t, testConfig(fs, "from"))
	defer func() { must(t, from.Close()) }()
	src := stateOf(t, from, 1)
	want := fill(t, src, 1500, 77)
	fill(t, stateOf(t, from, 2), 10, 5) // a neighbour that must not come along

	e, err := src.Export(context.Background())
	must(t, err)
	// Commits go on, and are not seen by the export.
	b := src.NewBatch()
	b.DeleteRange(nil, nil)
	b.Set([]byte("later"), nil)
	must(t, b.Commit(78))
	chunks := chunksOf(t, e)
	if len(chunks) < 5 {
		t.Fatalf("%d chunks: too few to say anything", len(chunks))
	}
	for _, n := range []uint64{3, 0, uint64(len(chunks) - 1)} {
		again, _, err := e.Chunk(n)
		if err != nil || !bytes.Equal(again, chunks[n]) {
			t.Fatalf("chunk %d is not the same again: %v", n, err)
		}
	}
	if _, _, err := e.Chunk(uint64(len(chunks))); !errors.Is(err, ErrNotFound) {
		t.Fatalf("chunk behind the last: %v", err)
	}
	must(t, e.Close())
	if _, _, err := e.Chunk(0); err != ErrExportGone {
		t.Fatalf("chunk of a closed export: %v", err)
	}

	to := openTest(t, testConfig(fs, "to"))
	dst := stateOf(t, to, 9)
	fill(t, dst, 40, 100) // is replaced, though it is ahead
	must(t, dst.Flush(context.Background()))
	neighbour := fill(t, stateOf(t, to, 8), 20, 3)
	header, err := ParseHeader(e.Header().Append(nil))
	must(t, err)
	im, err := dst.Import(header)
	must(t, err)
	if _, err := dst.Import(header); err == nil {
		t.Fatal("two imports of one group")
	}
	for i, c := range chunks {
		if err := im.Finish(context.Background(), SnapshotRecord{}); err == nil {
			t.Fatal("finished before the last chunk")
		}
		done, err := im.Put(c)
		must(t, err)
		if done != (i == len(chunks)-1) {
			t.Fatalf("chunk %d: done %v", i, done)
		}
	}
	if len(contents(t, dst)) != 40 {
		t.Fatal("a part of the import is visible before it is finished")
	}
	if err := im.Finish(context.Background(), SnapshotRecord{Index: 78}); err == nil {
		t.Fatal("a record above the state was taken")
	}
	record := SnapshotRecord{Index: 70, Term: 4, Version: 2, Configuration: []byte("conf")}
	must(t, im.Finish(context.Background(), record))

	check := func(to *Store) {
		t.Helper()
		dst := stateOf(t, to, 9)
		if got := contents(t, dst); !maps.Equal(got, want) {
			t.Fatalf("%d keys came, %d were sent", len(got), len(want))
		}
		if !maps.Equal(contents(t, stateOf(t, to, 8)), neighbour) {
			t.Fatal("the neighbour has changed")
		}
		durable, err := dst.DurableApplied()
		must(t, err)
		mark, ok := dst.Restored()
		if dst.Applied() != 77 || durable != 77 || !ok || mark.Index != 77 || mark.ID != header.ID {
			t.Fatalf("applied %d durable %d restored %+v %v", dst.Applied(), durable, mark, ok)
		}
		r, err := dst.SnapshotRecord()
		must(t, err)
		if r.Index != 70 || r.Term != 4 || r.Version != 2 || string(r.Configuration) != "conf" {
			t.Fatalf("record %+v", r)
		}
	}
	check(to)
	must(t, stateOf(t, to, 8).Flush(context.Background()))
	// The power fails: the import was durable when Finish returned.
	crashed := openTest(t, testConfig(fs.CrashClone(vfs.CrashCloneCfg{}), "to"))
	check(crashed)
	must(t, crashed.Close())
	must(t, to.Close())
}

// A chunk follows the chunks that it was made behind, and no others of the same number.
func TestChunksFollowEachOther(t *testing.T) {
	h := Header{Version: layoutVersion, ID: [16]byte{1}}
	var start dumpPosition
	first := newChunk(h, start)
	first.add([]byte("a"), []byte("1"))
	chunk, sum := first.finish(start, false)
	next := start.after(sum, 1, first.bytes, []byte("a"))
	other := start.after(sum+1, 1, first.bytes, []byte("a")) // behind a first chunk of another content

	for name, c := range map[string]struct {
		key  string
		last bool
		lie  uint64 // about the number of keys
		made dumpPosition
		ok   bool
	}{
		"as it should be":    {"b", true, 0, next, true},
		"behind another one": {"b", true, 0, other, false},
		"keys go back":       {"a", true, 0, next, false},
		"wrong totals":       {"b", true, 1, next, false},
		"not the last":       {"b", false, 1, next, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newChunk(h, c.made)
			w.add([]byte(c.key), []byte("2"))
			made := c.made
			made.keys += c.lie
			b, _ := w.finish(made, c.last)
			r, err := openChunk(b, h, next)
			if err == nil {
				_, err = r.verify(next)
			}
			if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrChunk) {
				t.Fatal(err)
			}
		})
	}
	if _, err := openChunk(chunk, h, start); err != nil {
		t.Fatal(err)
	}
}

func FuzzChunk(f *testing.F) {
	h := Header{Version: layoutVersion}
	w := newChunk(h, dumpPosition{})
	w.add([]byte("a"), []byte("1"))
	b, _ := w.finish(dumpPosition{}, true)
	f.Add(b[:len(b)-8])
	f.Add(h.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		// With a checksum that is right, so that what lies behind it is reached.
		if r, err := openChunk(seal(append([]byte(nil), b...)), h, dumpPosition{}); err == nil {
			if _, err := r.verify(dumpPosition{}); err != nil && !errors.Is(err, ErrChunk) {
				t.Fatal(err)
			}
		}
		ParseHeader(b)
		decodeMarks(b)
		parseHardState(b)
		parseSnapshotRecord(b)
		parseRestored(b)
		parseEntry(make([]byte, entryKeyLen), b)
	})
}
