package storage_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/storagetest"
)

// Who reads where a tail is being cut finds the entry, or finds that it is gone; nobody takes it for damage.
func TestReadsBesideACut(t *testing.T) {
	fs := storagetest.New()
	fatal := storagetest.NewFatal()
	cfg := storagetest.Config(t, fs, "data")
	cfg.Fatal, cfg.EntryCache = fatal.Func, 1
	s := open(t, cfg)
	l := s.Log(1)
	for i := uint64(1); i <= 100; i++ {
		must(t, l.Append([]storage.Entry{{Index: i, Term: 1, Data: make([]byte, 100)}}))
	}
	cut := make(chan struct{})
	reads := make(chan error, 3)
	fs.At("truncate.synced", 0, func() { // the entries are gone, and nothing else says so
		close(cut)
		time.Sleep(50 * time.Millisecond) // the readers get as far as they can
	})
	go func() {
		<-cut
		_, err := l.BytesAfter(74)
		reads <- err
	}()
	go func() {
		<-cut
		_, err := l.EntriesWithin(1000)
		reads <- err
	}()
	go func() {
		<-cut
		_, err := l.Entry(60)
		reads <- err
	}()
	must(t, l.TruncateFrom(50))
	for range cap(reads) {
		select {
		case err := <-reads:
			if err != nil && !errors.Is(err, storage.ErrNotFound) {
				t.Error(err)
			}
		case <-fatal.Done():
			t.Fatal(fatal.Err())
		}
	}
	must(t, s.Close())
}

// A disk that was full and can't be asked any more is still full, as far as anybody knows.
func TestUnknownSpaceIsNoSpace(t *testing.T) {
	fs := storagetest.New()
	cfg := storagetest.Config(t, fs, "data")
	cfg.LowSpace, cfg.FullSpace, cfg.Reserve, cfg.SpaceInterval = 8<<20, 1<<20, -1, time.Millisecond
	fs.SetFree(64 << 20)
	s := open(t, cfg)
	await := func(want storage.SpaceLevel) {
		t.Helper()
		for start := time.Now(); s.Space().Level != want; time.Sleep(time.Millisecond) {
			if time.Since(start) > 20*time.Second {
				t.Fatalf("level %v, want %v", s.Space().Level, want)
			}
		}
	}
	await(storage.SpaceOK)
	fs.SetFree(500 << 10)
	await(storage.SpaceFull)
	remove := fs.Inject(storagetest.Fault{Op: storagetest.Usage, Err: syscall.EIO})
	for struck := fs.Struck(); fs.Struck() < struck+20; time.Sleep(time.Millisecond) {
		if sp := s.Space(); sp.Level != storage.SpaceFull {
			t.Fatalf("%+v", sp)
		}
	}
	remove()
	fs.SetFree(64 << 20)
	await(storage.SpaceOK)
	must(t, s.Close())
}
