package storagetest

import (
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
)

// Config is a small and quick one: tiny memtables, so that flushes and compactions happen, no reserve file,
// looks at the disk every few milliseconds. Fatal fails the test and ends the goroutine that has met it; a test
// that expects it takes a Fatal.
func Config(t testing.TB, fs *FS, dir string) storage.Config {
	return storage.Config{
		Dir: dir, FS: fs.Handle(), Cluster: "cluster", Node: "node",
		Logger:    slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo})),
		LogMemory: 1 << 20, StateMemory: 256 << 10, Cache: 1 << 20, Reserve: -1,
		LowSpace: 2 << 20, FullSpace: 1 << 20,
		SpaceInterval: 2 * time.Millisecond, MarkInterval: 2 * time.Millisecond,
		Fatal: func(msg string, err error) {
			t.Errorf("fatal: %s: %v", msg, err)
			runtime.Goexit()
		},
	}
}

// testWriter writes log lines to a test. Lines that come after its end are dropped: a Store whose disk hangs
// cannot be closed.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Logf("%s", p)
	}
	return len(p), nil
}

// Fatal records the end of a process. Its Func is a storage.Config.Fatal; the goroutine that calls it never
// gets back from the Store, so what it was doing is never answered.
type Fatal struct {
	once sync.Once
	done chan struct{}
	err  error
}

// NewFatal returns a Fatal that has not happened.
func NewFatal() *Fatal { return &Fatal{done: make(chan struct{})} }

// Func is to be called by the Store.
func (f *Fatal) Func(msg string, err error) {
	f.once.Do(func() {
		f.err = fmt.Errorf("%s: %w", msg, err)
		close(f.done)
	})
}

// Done is closed when it has happened; Err then says why.
func (f *Fatal) Done() <-chan struct{} { return f.done }

// Err is nil before Done is closed.
func (f *Fatal) Err() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}
