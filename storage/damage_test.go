package storage_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/storagetest"
)

// What filled writes: enough for a flush of each database, and some entries behind it.
const (
	entries = 110
	keys    = 40
)

// filled makes a data directory with some of everything: flushed tables of both databases, entries that are
// only in the write-ahead log, several groups.
func filled(t *testing.T, fs *storagetest.FS, dir string) {
	t.Helper()
	s := open(t, storagetest.Config(t, fs, dir))
	for g := range uint32(3) {
		must(t, s.Log(g).SetVote(3, "n1"))
		for i := uint64(1); i <= entries; i++ {
			must(t, s.Log(g).Append([]storage.Entry{{Index: i, Term: 3, Data: fmt.Appendf(nil, "%0*d", 4000, i)}}))
		}
		st := stateOf(t, s, g)
		b := st.NewBatch()
		for i := uint64(1); i <= keys; i++ {
			b.Set(fmt.Appendf(nil, "key %04d", i), fmt.Appendf(nil, "%0*d", 8000, i))
			must(t, b.Commit(i))
		}
		must(t, st.PutSnapshotRecord(t.Context(), storage.SnapshotRecord{Index: keys - 1, Term: 3}))
	}
	must(t, s.Close())
}

// read opens a damaged directory and reads everything in it. What comes back is an error of Open, or a fatal
// one of a read, or the damage that the logs report; nil if everything is as it was.
func read(t *testing.T, fs *storagetest.FS, dir string) error {
	t.Helper()
	fatal := storagetest.NewFatal()
	cfg := storagetest.Config(t, fs, dir)
	cfg.Fatal = fatal.Func
	s, err := storage.Open(t.Context(), cfg)
	if err != nil {
		// A state's tables may be looked at in the background while Open returns; all logs are read by Open itself.
		if fatal.Err() != nil && strings.Contains(err.Error(), "data/log") {
			t.Errorf("Open does not return its error but ends the process: %v", fatal.Err())
		}
		return err
	}
	var damage error
	done := started(func() { damage = readAll(s) })
	select {
	case <-fatal.Done():
		return fatal.Err()
	case <-done:
		if err := s.Close(); fatal.Err() == nil {
			must(t, err)
		}
		return errors.Join(damage, fatal.Err())
	}
}

func readAll(s *storage.Store) error {
	for g := range uint32(3) {
		l := s.Log(g)
		if err := l.Damage(); err != nil {
			return err
		}
		if l.Last() != entries || l.Term() != 3 {
			return fmt.Errorf("SERVED: log of group %d ends at %d in term %d", g, l.Last(), l.Term())
		}
		for i := uint64(1); i <= entries; i++ {
			e, err := l.Entry(i)
			if err != nil {
				return err
			}
			if string(e.Data) != fmt.Sprintf("%0*d", 4000, i) {
				return fmt.Errorf("SERVED: entry %d of group %d is %.10q", i, g, e.Data)
			}
		}
		st, err := s.State(g)
		if err != nil {
			return err
		}
		n := uint64(0)
		wrong := error(nil)
		err = st.Scan(nil, nil, func(k, v []byte) bool {
			n++
			if string(k) != fmt.Sprintf("key %04d", n) || string(v) != fmt.Sprintf("%0*d", 8000, n) {
				wrong = fmt.Errorf("SERVED: key %q of group %d", k, g)
			}
			return wrong == nil
		})
		if err := errors.Join(err, wrong); err != nil {
			return err
		}
		if n != keys || st.Applied() != keys {
			return fmt.Errorf("SERVED: state of group %d has %d keys at %d", g, n, st.Applied())
		}
	}
	return nil
}

// One bit flips, anywhere in any file: what is served is what was written, or nothing. Bits that matter are
// told with the file (or the database) that they were in.
func TestFlippedBitsAreNeverServed(t *testing.T) {
	fs := storagetest.New()
	filled(t, fs, "data")
	classes := []storagetest.Class{
		storagetest.LogWAL, storagetest.LogTable, storagetest.StateTable, storagetest.Manifest, storagetest.Small,
	}
	for _, class := range classes {
		found, flips := 0, 0
		for _, path := range fs.Files(t, "data", class) {
			size := fs.Size(t, path)
			if strings.Contains(path, "OPTIONS-") || size == 0 {
				continue // a description for people; the marker of a name has no content
			}
			for i := range int64(4) {
				at := i * (size - 1) / 3
				if class == storagetest.Small && strings.HasSuffix(path, "marks") {
					at = i * 90 // the rest of the slots is padding
				}
				copy := fs.Kill()
				copy.FlipBit(t, path, at)
				err := read(t, copy, "data")
				flips++
				if err == nil {
					continue // in a part that nothing depends on, or the newest of two copies is the other one
				}
				found++
				if strings.Contains(err.Error(), "SERVED") || !errors.Is(err, storage.ErrCorrupt) {
					t.Errorf("%s, byte %d of %d: %v", path, at, size, err)
				}
			}
		}
		t.Logf("%s: %d of %d flips found", class, found, flips)
		if found == 0 {
			t.Errorf("no flip in any %s was found: nothing is tested", class)
		}
	}
}

// A file is cut in half, or is gone. Either Open refuses and names what is wrong and what to do, or the groups
// whose log has become short say so, or it was a file that nothing depends on.
func TestCutAndMissingFilesAreRefused(t *testing.T) {
	fs := storagetest.New()
	filled(t, fs, "data")
	wants := map[storagetest.Class]string{
		storagetest.LogWAL: "data/log", storagetest.LogTable: "data/log", storagetest.StateTable: "data/state",
		storagetest.Manifest: "data/", storagetest.Small: "data/",
	}
	for class, want := range wants {
		found := 0
		for _, path := range fs.Files(t, "data", class) {
			for _, how := range []string{"cut", "deleted"} {
				copy := fs.Kill()
				if how == "deleted" {
					copy.Delete(t, path)
				} else if size := copy.Size(t, path); size > 0 {
					copy.Cut(t, path, size/2)
				} else {
					continue
				}
				err := read(t, copy, "data")
				if err == nil {
					if harmless := strings.Contains(path, "OPTIONS-") || strings.Contains(path, "MANIFEST-") || strings.HasSuffix(path, ".log") ||
						how == "cut" && strings.HasSuffix(path, "marks"); !harmless {
						t.Errorf("%s is %s and nobody notices", path, how)
					}
					continue
				}
				found++
				var corrupt *storage.CorruptError
				var damaged *storage.DamagedError
				switch {
				case errors.As(err, &damaged):
					if class != storagetest.LogWAL {
						t.Errorf("%s %s: %v", path, how, err)
					}
				case !errors.As(err, &corrupt) || corrupt.Remedy == "" || !strings.HasPrefix(corrupt.Path, want):
					t.Errorf("%s %s: %v", path, how, err)
				}
			}
		}
		if found == 0 {
			t.Errorf("nothing of class %s was found missing", class)
		}
	}
}

// The database would take a manifest that is damaged in the middle for a shorter one, come back as it was long
// ago, and remove the tables that it no longer knows. It must be refused before that.
func TestDamagedManifestCostsNoTable(t *testing.T) {
	fs := storagetest.New()
	filled(t, fs, "data")
	for class, db := range map[storagetest.Class]string{storagetest.LogTable: "data/log", storagetest.StateTable: "data/state"} {
		for _, path := range fs.Files(t, "data", storagetest.Manifest) {
			if !strings.HasPrefix(path, db+"/MANIFEST-") {
				continue
			}
			for i := range int64(8) {
				copy := fs.Kill()
				before := fmt.Sprint(copy.Files(t, "data", class))
				copy.FlipBit(t, path, i*(copy.Size(t, path)-1)/7)
				s, err := storage.Open(t.Context(), storagetest.Config(t, copy, "data"))
				if err == nil {
					must(t, s.Close()) // an older manifest, or behind what was synced
					continue
				}
				var corrupt *storage.CorruptError
				if !errors.As(err, &corrupt) {
					t.Errorf("%s: %v", path, err)
				}
				if after := fmt.Sprint(copy.Files(t, "data", class)); after != before {
					t.Errorf("%s was refused, but tables are gone: %s, before %s", path, after, before)
				}
			}
		}
	}
}

// short leaves entries of one group in the write-ahead log only, and closes it as a crash does. The marks were
// refreshed behind the last entry.
func short(t *testing.T, fs *storagetest.FS) *storagetest.FS {
	t.Helper()
	cfg := storagetest.Config(t, fs, "data")
	s := open(t, cfg)
	l := s.Log(1)
	must(t, l.SetVote(3, "n1"))
	for i := uint64(1); i <= 20; i++ {
		must(t, l.Append([]storage.Entry{{Index: i, Term: 3, Data: []byte("x")}}))
	}
	must(t, l.SetTerm(4))
	must(t, storage.RefreshMarks(s))
	killed := fs.Crash(0, 0)
	must(t, s.Close())
	return killed
}

// Damage in the last block of the write-ahead log looks like the torn end that a power loss leaves. Only the
// marks know better.
func TestMarksTellADamagedLogFromAShortOne(t *testing.T) {
	for name, damage := range map[string]func(fs *storagetest.FS, wal string){
		"bit flipped": func(fs *storagetest.FS, wal string) { fs.FlipBit(t, wal, fs.Size(t, wal)*3/4) },
		"cut":         func(fs *storagetest.FS, wal string) { fs.Cut(t, wal, fs.Size(t, wal)*3/4) },
		"emptied":     func(fs *storagetest.FS, wal string) { fs.Cut(t, wal, 0) },
		"deleted":     func(fs *storagetest.FS, wal string) { fs.Delete(t, wal) },
		"directory moved away": func(fs *storagetest.FS, _ string) {
			fs.Delete(t, "data/log")
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := short(t, storagetest.New())
			largest := ""
			for _, wal := range fs.Files(t, "data", storagetest.LogWAL) {
				if largest == "" || fs.Size(t, wal) > fs.Size(t, largest) {
					largest = wal
				}
			}
			damage(fs, largest)
			s := open(t, storagetest.Config(t, fs, "data"))
			l := s.Log(1)
			var damaged *storage.DamagedError
			if err := l.Damage(); !errors.As(err, &damaged) || !errors.Is(err, storage.ErrCorrupt) {
				t.Fatalf("damage: %v (log ends at %d, term %d)", err, l.Last(), l.Term())
			}
			if damaged.MarkIndex != 20 || damaged.MarkTerm != 3 || damaged.MarkCurrent != 4 {
				t.Errorf("%+v", damaged)
			}
			for what, err := range map[string]error{
				"vote": l.SetVote(9, "n2"), "term": l.SetTerm(9), "append": l.Append(entry(21)), "truncate": l.TruncateFrom(1),
			} {
				if !errors.As(err, &damaged) {
					t.Errorf("%s with a damaged log: %v", what, err)
				}
			}
			must(t, s.Close())
			s = open(t, storagetest.Config(t, fs, "data"))
			l = s.Log(1)
			if l.Damage() == nil {
				t.Fatal("the damage is forgotten")
			}
			if err := s.Log(2).SetVote(1, "n1"); err != nil {
				t.Errorf("another group: %v", err)
			}
			must(t, l.Reseed())
			check := func(l *storage.Log) {
				t.Helper()
				_, _, voted := l.Vote()
				if l.Damage() != nil || l.Last() != 0 || l.Term() != 0 || voted || l.Life() != 1 {
					t.Fatalf("after reseed: %v last %d term %d voted %v life %d", l.Damage(), l.Last(), l.Term(), voted, l.Life())
				}
			}
			check(l)
			after := fs.Crash(0, 0)
			must(t, s.Close())
			s = open(t, storagetest.Config(t, after, "data"))
			check(s.Log(1))
			must(t, s.Log(1).Append(entry(1)))
			must(t, s.Close())
		})
	}
}

// The other way round: no crash, at any point of any change, makes a sound log look damaged. (The long test of
// crashes looks at this, too; here the tail is cut and replaced again and again.)
func TestSoundLogsNeverLookDamaged(t *testing.T) {
	for _, point := range []string{"truncate.marked", "truncate.before", "truncate.synced", "append.before", "append.synced"} {
		for skip := range 8 {
			fs := storagetest.New()
			s := open(t, storagetest.Config(t, fs, "data"))
			l := s.Log(1)
			crashed := fs.CrashAt(point, skip, 0, 0)
			for term := uint64(1); term <= 9; term++ {
				first := l.Last() + 1
				if term%3 == 0 && first > 4 {
					first -= 3
					must(t, l.TruncateFrom(first))
				}
				var add []storage.Entry
				for i := first; i < first+5; i++ {
					add = append(add, storage.Entry{Index: i, Term: term})
				}
				must(t, l.Append(add))
				must(t, l.Append(add[:2])) // shorter, of the same term
				time.Sleep(3 * time.Millisecond)
			}
			must(t, s.Close())
			select {
			case next := <-crashed:
				s := open(t, storagetest.Config(t, next, "data"))
				if err := s.Log(1).Damage(); err != nil {
					t.Errorf("%s/%d: %v", point, skip, err)
				}
				must(t, s.Close())
			default:
				if skip < 2 {
					t.Errorf("%s was not reached", point)
				}
			}
		}
	}
}

func TestReseedIsFinishedAfterACrash(t *testing.T) {
	for _, point := range []string{"reseed.marked", "reseed.before", "reseed.synced"} {
		t.Run(point, func(t *testing.T) {
			fs := storagetest.New()
			s := open(t, storagetest.Config(t, fs, "data"))
			must(t, s.Log(1).SetVote(5, "n1"))
			must(t, s.Log(1).Append([]storage.Entry{{Index: 1, Term: 5}}))
			crashed := fs.CrashAt(point, 0, 0, 0)
			must(t, s.Log(1).Reseed())
			must(t, s.Close())
			s = open(t, storagetest.Config(t, <-crashed, "data"))
			defer func() { must(t, s.Close()) }()
			l := s.Log(1)
			if _, _, voted := l.Vote(); l.Life() != 1 || l.Last() != 0 || voted || l.Damage() != nil {
				t.Fatalf("life %d last %d voted %v %v", l.Life(), l.Last(), voted, l.Damage())
			}
		})
	}
}

// A state that was flushed further once has lost something, even if it opens.
func TestStateOlderThanItsMarkIsRefused(t *testing.T) {
	fs := storagetest.New()
	cfg := storagetest.Config(t, fs, "data")
	commit := func(s *storage.Store, n uint64) {
		b := stateOf(t, s, 1).NewBatch()
		b.Set([]byte("k"), fmt.Append(nil, n))
		must(t, b.Commit(n))
	}
	s := open(t, cfg)
	commit(s, 5)
	must(t, s.Close())
	older := fs.Kill()
	s = open(t, cfg)
	commit(s, 9)
	must(t, s.Close())
	// Somebody puts back the state directory of yesterday.
	for _, path := range fs.Files(t, "data", storagetest.Small) {
		older.Replace(t, path, fs.Bytes(t, path))
	}
	s, err := storage.Open(t.Context(), storagetest.Config(t, older, "data"))
	if err == nil {
		_, err = s.State(1)
		must(t, s.Close())
	}
	var corrupt *storage.CorruptError
	if !errors.As(err, &corrupt) || corrupt.Path != "data/state" && corrupt.Path != "data/log" {
		t.Fatal(err)
	}
}

func TestMissingStateIsMadeAnew(t *testing.T) {
	fs := storagetest.New()
	filled(t, fs, "data")
	fs.Delete(t, "data/state")
	for range 2 {
		s := open(t, storagetest.Config(t, fs, "data"))
		if st := stateOf(t, s, 1); st.Applied() != 0 || s.Log(1).Last() != entries || s.Log(1).Damage() != nil {
			t.Fatalf("applied %d last %d %v", st.Applied(), s.Log(1).Last(), s.Log(1).Damage())
		}
		must(t, s.Close())
	}
}

func TestCorruptErrorsSayWhatToDo(t *testing.T) {
	err := error(&storage.CorruptError{Path: "d/marks", Remedy: "do this", Err: errors.New("cause")})
	if text := err.Error(); !strings.Contains(text, "d/marks") || !strings.Contains(text, "do this") || !strings.Contains(text, "cause") {
		t.Fatal(text)
	}
	if text := (&storage.CorruptError{Path: "d/marks", Remedy: "do this"}).Error(); !strings.Contains(text, "do this") {
		t.Fatal(text)
	}
}
