package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// checkLog compares a log with what it should hold, entry by entry.
func checkLog(t *testing.T, l *Log, want []Entry) {
	t.Helper()
	var first, last, term uint64
	var bytes int64
	if n := len(want); n > 0 {
		first, last, term = want[0].Index, want[n-1].Index, want[n-1].Term
	}
	for _, w := range want {
		bytes += int64(entrySize(&w))
		e, err := l.Entry(w.Index)
		if err != nil || e.Term != w.Term || string(e.Data) != string(w.Data) {
			t.Fatalf("entry %d: %+v %v, want term %d %q", w.Index, e, err, w.Term, w.Data)
		}
	}
	i, tm := l.Tail()
	if l.First() != first || l.Last() != last || i != last || tm != term {
		t.Fatalf("log %d..%d (term %d), want %d..%d (term %d)", l.First(), i, tm, first, last, term)
	}
	if l.Bytes() != bytes {
		t.Fatalf("log has %d bytes, want %d", l.Bytes(), bytes)
	}
	var after int64
	for i := len(want); i >= 0; i-- { // of which the last are i and above
		index := last - uint64(len(want)-i)
		if got, err := l.BytesAfter(index); err != nil || got != after {
			t.Fatalf("%d bytes after entry %d, %v, want %d", got, index, err, after)
		}
		for _, b := range []int64{after, after - 1} {
			fit := len(want) - i
			if b < after && fit > 0 {
				fit--
			}
			if got, err := l.EntriesWithin(b); err != nil || got != uint64(fit) {
				t.Fatalf("%d entries within %d bytes, %v, want %d", got, b, err, fit)
			}
		}
		if i > 0 {
			after += int64(entrySize(&want[i-1]))
		}
	}
	for _, i := range []uint64{0, first - 1, last + 1, last + 1000} {
		if _, err := l.Entry(i); i != first && err != ErrNotFound {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
	if err := l.Damage(); err != nil {
		t.Fatal(err)
	}
}

// storedIndexes is what the database holds of a group, seen or unseen.
func storedIndexes(t *testing.T, s *Store, group uint32) (all []uint64) {
	t.Helper()
	it, err := s.logDB.NewIter(&pebble.IterOptions{LowerBound: entryKey(nil, group, 0), UpperBound: entriesEnd(group)})
	must(t, err)
	for ok := it.First(); ok; ok = it.Next() {
		all = append(all, binary.BigEndian.Uint64(it.Key()[groupLen+1:]))
	}
	must(t, errors.Join(it.Error(), it.Close()))
	return all
}

// Each step is checked three times: in memory, without the cache of recent entries, and opened again.
func TestLogSteps(t *testing.T) {
	type step func(t *testing.T, l *Log)
	app := func(first, last, term uint64) step {
		return func(t *testing.T, l *Log) { must(t, l.Append(run(first, last, term))) }
	}
	before := func(i uint64) step { return func(t *testing.T, l *Log) { must(t, l.TruncateBefore(i)) } }
	from := func(i uint64) step { return func(t *testing.T, l *Log) { must(t, l.TruncateFrom(i)) } }
	released := func(t *testing.T, l *Log) { must(t, l.ReleaseSpace()) }
	for name, c := range map[string]struct {
		steps []step
		want  []Entry
	}{
		"append":                      {[]step{app(1, 3, 1), app(4, 6, 2)}, append(run(1, 3, 1), run(4, 6, 2)...)},
		"begin anywhere":              {[]step{app(100, 103, 7)}, run(100, 103, 7)},
		"replace a tail":              {[]step{app(1, 9, 1), app(5, 6, 2)}, append(run(1, 4, 1), run(5, 6, 2)...)},
		"replace a tail and go on":    {[]step{app(1, 9, 1), app(5, 6, 2), app(7, 12, 2)}, append(run(1, 4, 1), run(5, 12, 2)...)},
		"the last one again":          {[]step{app(1, 9, 1), app(9, 9, 1)}, run(1, 9, 1)},
		"replace all":                 {[]step{app(3, 9, 1), app(3, 4, 2)}, run(3, 4, 2)},
		"replace from below":          {[]step{app(3, 9, 1), app(2, 4, 2)}, run(2, 4, 2)},
		"cut the tail":                {[]step{app(1, 9, 1), from(5)}, run(1, 4, 1)},
		"cut the tail, append":        {[]step{app(1, 9, 1), from(5), app(5, 5, 3)}, append(run(1, 4, 1), run(5, 5, 3)...)},
		"cut above":                   {[]step{app(1, 4, 1), from(5)}, run(1, 4, 1)},
		"cut all":                     {[]step{app(1, 4, 1), from(1)}, nil},
		"cut all, begin elsewhere":    {[]step{app(1, 4, 1), from(1), app(50, 51, 2)}, run(50, 51, 2)},
		"cut the head":                {[]step{app(1, 9, 1), before(4), released}, run(4, 9, 1)},
		"cut the head twice":          {[]step{app(1, 9, 1), before(4), released, before(6), released, app(10, 11, 1)}, run(6, 11, 1)},
		"cut the head of nothing":     {[]step{before(4)}, nil},
		"cut the head beyond the end": {[]step{app(1, 9, 1), before(10)}, nil},
		"cut all by the head, go on":  {[]step{app(1, 9, 1), before(10), app(21, 22, 3)}, run(21, 22, 3)},
		"cut both ends":               {[]step{app(1, 9, 1), before(4), released, from(7)}, run(4, 6, 1)},
		"cut the head, replace all":   {[]step{app(1, 9, 1), before(4), app(4, 5, 2)}, run(4, 5, 2)},
		"cut the head, cut all":       {[]step{app(1, 9, 1), before(4), from(2), app(2, 3, 2)}, run(2, 3, 2)},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(vfs.NewMem(), "d")
			s := openTest(t, cfg)
			other := run(1, 5, 9)
			must(t, s.Log(6).Append(other))
			must(t, s.Log(8).Append(other))
			for _, step := range c.steps {
				step(t, s.Log(7))
			}
			checkLog(t, s.Log(7), c.want)
			if all := storedIndexes(t, s, 7); len(all) > 0 && all[len(all)-1] != s.Log(7).Last() {
				t.Fatalf("the database has entries up to %d, the log ends at %d", all[len(all)-1], s.Log(7).Last())
			}
			s.Log(7).recent = recentEntries{}
			checkLog(t, s.Log(7), c.want)
			must(t, s.Close())
			s = openTest(t, cfg)
			checkLog(t, s.Log(7), c.want)
			checkLog(t, s.Log(6), other)
			checkLog(t, s.Log(8), other)
			must(t, s.Close())
		})
	}
}

func TestAppendRefuses(t *testing.T) {
	s := openTest(t, testConfig(vfs.NewMem(), "d"))
	defer func() { must(t, s.Close()) }()
	l := s.Log(1)
	must(t, l.Append(run(5, 8, 3)))
	for name, c := range map[string]struct {
		entries []Entry
		want    error
	}{
		"a gap":                          {run(10, 11, 3), ErrGap},
		"a gap inside":                   {append(run(9, 9, 3), run(11, 11, 3)...), ErrGap},
		"index 0":                        {run(0, 0, 3), ErrGap},
		"a lower term":                   {run(9, 9, 2), ErrTermBackwards},
		"a lower term inside":            {append(run(9, 9, 4), run(10, 10, 3)...), ErrTermBackwards},
		"a lower term in the middle":     {run(7, 7, 2), ErrTermBackwards},
		"nothing":                        {nil, nil},
		"the first one, with lower term": {run(5, 8, 2), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if err := l.Append(c.entries); !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if c.want != nil {
				checkLog(t, l, run(5, 8, 3))
			} else if c.entries != nil {
				must(t, l.Append(run(5, 8, 3)))
			}
		})
	}
	if err := s.Err(); err != nil {
		t.Fatalf("a refusal is sticky: %v", err)
	}
}

func TestEntryKeepsAllFields(t *testing.T) {
	cfg := testConfig(vfs.NewMem(), "d")
	s := openTest(t, cfg)
	at := time.Now()
	want := []Entry{
		{Index: 1, Term: 1, Type: 3, Data: []byte("data"), Extensions: []byte("ext"), AppendedAt: at},
		{Index: 2, Term: 1, Extensions: []byte("only ext")},
		{Index: 3, Term: 1, Data: bytes.Repeat([]byte{1}, 3<<20), AppendedAt: time.Unix(0, 0)},
		{Index: 4, Term: 2},
	}
	given := []byte("data")
	want[0].Data = given
	must(t, s.Log(1).Append(want))
	given[0] = 'X' // the bytes were copied
	want[0].Data = []byte("data")
	for _, again := range []bool{false, true} {
		if again {
			must(t, s.Close())
			s = openTest(t, cfg)
		}
		for _, w := range want {
			e, err := s.Log(1).Entry(w.Index)
			must(t, err)
			if e.Type != w.Type || !bytes.Equal(e.Data, w.Data) || !bytes.Equal(e.Extensions, w.Extensions) ||
				!e.AppendedAt.Equal(w.AppendedAt) || e.AppendedAt.IsZero() != w.AppendedAt.IsZero() {
				t.Fatalf("opened again %v: entry %d came back as %+v", again, w.Index, e)
			}
		}
	}
	must(t, s.Close())
}

func TestVoteAndTerm(t *testing.T) {
	cfg := testConfig(vfs.NewMem(), "d")
	s := openTest(t, cfg)
	l := s.Log(1)
	if _, _, ok := l.Vote(); ok || l.Term() != 0 {
		t.Fatal("a new log has voted")
	}
	must(t, l.SetTerm(5))
	must(t, l.SetVote(7, "n2"))
	if l.Term() != 7 {
		t.Fatalf("term %d after a vote in 7", l.Term())
	}
	if err := l.SetTerm(6); !errors.Is(err, ErrTermBackwards) {
		t.Fatalf("term 6 after 7: %v", err)
	}
	if err := l.SetVote(6, "n3"); !errors.Is(err, ErrTermBackwards) {
		t.Fatalf("vote in 6 after 7: %v", err)
	}
	must(t, l.SetTerm(9))
	must(t, s.Close())
	s = openTest(t, cfg)
	defer func() { must(t, s.Close()) }()
	term, who, ok := s.Log(1).Vote()
	if s.Log(1).Term() != 9 || term != 7 || who != "n2" || !ok {
		t.Fatalf("term %d vote %d %q %v", s.Log(1).Term(), term, who, ok)
	}
}

// "not found" is compared with ==, so it must come back bare.
func TestNotFoundIsBare(t *testing.T) {
	s := openTest(t, testConfig(vfs.NewMem(), "d"))
	defer func() { must(t, s.Close()) }()
	if _, err := s.Log(1).Entry(1); err != ErrNotFound {
		t.Fatal(err)
	}
	must(t, s.Log(1).Append(run(1, 1, 1)))
	if _, err := s.Log(1).Entry(2); err != ErrNotFound {
		t.Fatal(err)
	}
	st := stateOf(t, s, 1)
	if _, err := st.Get([]byte("no")); err != ErrNotFound {
		t.Fatal(err)
	}
	if _, err := st.SnapshotRecord(); err != ErrNotFound {
		t.Fatal(err)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
}

// Only the record of the last index is believed: whatever lies above it in the database is not there.
func TestNothingAboveTheLastIndexIsVisible(t *testing.T) {
	cfg := testConfig(vfs.NewMem(), "d")
	s := openTest(t, cfg)
	l := s.Log(1)
	must(t, l.Append(run(1, 4, 5)))
	for _, e := range run(5, 9, 3) { // an older tail, which some bug or half a repair has left
		value := make([]byte, int(entrySize(&e))-entryKeyLen)
		putEntry(value, &e, 0)
		must(t, s.logDB.Set(entryKey(nil, 1, e.Index), value, pebble.Sync))
	}
	checkLog(t, l, run(1, 4, 5))
	must(t, s.Close())
	s = openTest(t, cfg)
	checkLog(t, s.Log(1), run(1, 4, 5))
	if all := storedIndexes(t, s, 1); len(all) != 4 {
		t.Fatalf("the database still has %v", all)
	}
	must(t, s.Log(1).Append(run(5, 5, 5)))
	must(t, s.Close())
	s = openTest(t, cfg)
	checkLog(t, s.Log(1), run(1, 5, 5))
	must(t, s.Close())
}

// A hole, as a lost file would leave it, must not be found out by a reader in the middle of its work.
func TestOpenRefusesAHole(t *testing.T) {
	cfg := testConfig(vfs.NewMem(), "d")
	s := openTest(t, cfg)
	must(t, s.Log(1).Append(run(1, 9, 1)))
	must(t, s.logDB.Delete(entryKey(nil, 1, 5), pebble.Sync))
	must(t, s.Close())
	wantCorrupt(t, cfg, "d/log")
}

func TestTruncationIsMerged(t *testing.T) {
	s := openTest(t, testConfig(vfs.NewMem(), "d"))
	defer func() { must(t, s.Close()) }()
	s.releaseBytes = 1 << 20
	l := s.Log(1)
	const size = 16 << 10
	for i := uint64(1); i <= 200; i++ {
		must(t, l.Append([]Entry{{Index: i, Term: 1, Data: make([]byte, size)}}))
	}
	releases := 0
	for i, at := uint64(2), l.released; i <= 200; i++ {
		must(t, l.TruncateBefore(i))
		if l.released != at {
			at = l.released
			releases++
		}
		if l.First() != i {
			t.Fatalf("first %d, want %d", l.First(), i)
		}
		if _, err := l.Entry(i - 1); err != ErrNotFound {
			t.Fatalf("entry %d: %v", i-1, err)
		}
	}
	if want := 199 * size / int(s.releaseBytes); releases != want {
		t.Fatalf("%d range deletions, want %d", releases, want)
	}
}

func TestRecentEntriesStayWithinTheirBytes(t *testing.T) {
	cfg := testConfig(vfs.NewMem(), "d")
	cfg.EntryCache = 100 << 10
	s := openTest(t, cfg)
	defer func() { must(t, s.Close()) }()
	l := s.Log(1)
	for i := uint64(1); i <= 500; i++ {
		must(t, l.Append([]Entry{{Index: i, Term: 1, Data: make([]byte, int(i*37%5000))}}))
		var sum int64
		for _, e := range l.recent.entries[l.recent.skip:] {
			sum += int64(entrySize(&e))
		}
		if sum != l.recent.bytes || sum > cfg.EntryCache {
			t.Fatalf("after %d: %d bytes, counted %d", i, sum, l.recent.bytes)
		}
		if _, ok := l.recent.get(i); !ok {
			t.Fatalf("the newest entry %d is not there", i)
		}
	}
	if len(l.recent.entries) > 400 {
		t.Fatalf("%d slots for few entries", len(l.recent.entries))
	}
	must(t, l.Append([]Entry{{Index: 501, Term: 1, Data: make([]byte, cfg.EntryCache)}}))
	if _, ok := l.recent.get(501); ok || l.recent.bytes != 0 {
		t.Fatalf("an entry above the limit is kept: %d bytes", l.recent.bytes)
	}
	if e, err := l.Entry(501); err != nil || len(e.Data) != int(cfg.EntryCache) {
		t.Fatal(err)
	}
}

func TestGroupsShareSyncs(t *testing.T) {
	s := openTest(t, testConfig(vfs.NewMem(), "d"))
	defer func() { must(t, s.Close()) }()
	done := make(chan error)
	for g := range uint32(8) {
		go func() {
			var err error
			for i := uint64(1); i <= 50 && err == nil; i++ {
				err = s.Log(g).Append([]Entry{{Index: i, Term: 1, Data: fmt.Append(nil, i)}})
			}
			done <- err
		}()
	}
	for range 8 {
		must(t, <-done)
	}
	for g := range uint32(8) {
		if s.Log(g).Last() != 50 {
			t.Fatalf("group %d ends at %d", g, s.Log(g).Last())
		}
	}
}

func wantCorrupt(t *testing.T, cfg Config, path string) {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err == nil {
		must(t, s.Close())
		t.Fatal("it was opened")
	}
	var c *CorruptError
	if !errors.As(err, &c) || !errors.Is(err, ErrCorrupt) || c.Path != path || c.Remedy == "" {
		t.Fatalf("%v (path %+v), want %s", err, c, path)
	}
}
