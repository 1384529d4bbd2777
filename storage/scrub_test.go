package storage_test

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/storagetest"
)

// hear is a slog.Handler's place to write: it tells when a line with a word was written.
type hear struct {
	word string
	once sync.Once
	told chan struct{}
}

func (h *hear) Write(b []byte) (int, error) {
	if strings.Contains(string(b), h.word) {
		h.once.Do(func() { close(h.told) })
	}
	return len(b), nil
}

func scrubbing(t *testing.T, fs *storagetest.FS) (storage.Config, *storagetest.Fatal, <-chan struct{}) {
	cfg, fatal := storagetest.Config(t, fs, "data"), storagetest.NewFatal()
	h := &hear{word: "all tables were read and are sound", told: make(chan struct{})}
	cfg.Fatal, cfg.ScrubInterval = fatal.Func, time.Hour
	cfg.Logger = slog.New(slog.NewTextHandler(h, nil))
	return cfg, fatal, h.told
}

// Nobody asks for anything, and a bit that has flipped in a table is found all the same: the process ends, and names the file.
func TestScrubFindsWhatNobodyReads(t *testing.T) {
	fs := storagetest.New()
	filled(t, fs, "data")
	for _, class := range []storagetest.Class{storagetest.LogTable, storagetest.StateTable} {
		for _, table := range fs.Files(t, "data", class) {
			size := fs.Size(t, table)
			for _, at := range []int64{0, size / 3, size / 2} { // in a block each; the footer is read at the start
				copy := fs.Kill()
				copy.FlipBit(t, table, at)
				cfg, fatal, sound := scrubbing(t, copy)
				s, err := storage.Open(t.Context(), cfg)
				if err == nil {
					select {
					case <-fatal.Done():
						err = fatal.Err()
					case <-sound:
						must(t, s.Close())
					}
				}
				var corrupt *storage.CorruptError
				if !errors.As(err, &corrupt) || path.Base(corrupt.Path) != path.Base(table) && class == storagetest.StateTable || corrupt.Remedy == "" {
					t.Errorf("%s, byte %d of %d: %v", table, at, size, err)
				}
			}
		}
	}
}

// A table that vanishes while the process runs is damage, too.
func TestScrubFindsWhatIsGone(t *testing.T) {
	fs := storagetest.New()
	filled(t, fs, "data")
	cfg, fatal, sound := scrubbing(t, fs)
	cfg.ScrubInterval = time.Millisecond
	s := open(t, cfg)
	<-sound
	fs.Delete(t, fs.Files(t, "data", storagetest.StateTable)[0])
	<-fatal.Done()
	if err := fatal.Err(); !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), "data/state") {
		t.Error(err)
	}
	if err := s.Close(); err == nil {
		t.Error("closed as if nothing were wrong")
	}
}

// Scrubs without a pause beside writes, flushes and compactions take nothing for damage, and end when the Store is closed.
func TestScrubBesideCompactions(t *testing.T) {
	fs := storagetest.New()
	cfg, fatal, _ := scrubbing(t, fs)
	cfg.ScrubInterval = time.Microsecond
	s := open(t, cfg)
	st := stateOf(t, s, 1)
	b := st.NewBatch()
	for i := range uint64(300) {
		for k := range 20 {
			b.Set(fmt.Appendf(nil, "key %04d", (int(i)*7+k*13)%200), fmt.Appendf(nil, "%0*d", 2000, i))
		}
		must(t, b.Commit(i+1))
		if i%20 == 0 {
			must(t, st.PutSnapshotRecord(t.Context(), storage.SnapshotRecord{Index: i, Term: 1}))
		}
	}
	must(t, s.Close())
	if err := fatal.Err(); err != nil {
		t.Error(err)
	}
}

// A scrub that is far from its end does not hold up Close.
func TestCloseEndsScrub(t *testing.T) {
	fs := storagetest.New()
	filled(t, fs, "data")
	cfg, _, _ := scrubbing(t, fs)
	cfg.ScrubRate = 1
	s := open(t, cfg)
	closed := started(func() { must(t, s.Close()) })
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("Close waits for the scrub")
	}
}
