package storage_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/posthouse/posthouse/storage"
)

// The benchmarks run on the disk under TMPDIR. BenchmarkFsync says what that disk can do.

func benchStore(b *testing.B) *storage.Store {
	b.Helper()
	s, err := storage.Open(b.Context(), storage.Config{
		Dir: filepath.Join(b.TempDir(), "data"), Cluster: "c", Node: "n", Reserve: -1,
		Fatal: func(msg string, err error) { panic(fmt.Sprint(msg, err)) },
	})
	must(b, err)
	b.Cleanup(func() { must(b, s.Close()) })
	return s
}

func BenchmarkFsync(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "file"))
			must(b, err)
			defer f.Close()
			buf := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				_, err := f.Write(buf)
				must(b, err)
				must(b, f.Sync())
			}
		})
	}
}

// One operation is one synced append of one entry to one of the groups, which append at the same time.
func BenchmarkAppend(b *testing.B) {
	for _, groups := range []int{1, 4} {
		for _, size := range []int{1 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("%dgroups/%dKiB", groups, size>>10), func(b *testing.B) {
				s := benchStore(b)
				data := make([]byte, size)
				b.SetBytes(int64(size))
				b.ResetTimer()
				var wg sync.WaitGroup
				for g := range groups {
					wg.Go(func() {
						l := s.Log(uint32(g))
						for i := uint64(1); i <= uint64(b.N/groups)+1; i++ {
							if err := l.Append([]storage.Entry{{Index: i, Term: 1, Data: data}}); err != nil {
								b.Error(err)
								return
							}
							if i%1000 == 0 {
								if err := l.TruncateBefore(i - 500); err != nil {
									b.Error(err)
								}
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

// One operation is one batch of ten messages of 1 KiB with an index entry each, and ten deletions.
func BenchmarkCommit(b *testing.B) {
	s := benchStore(b)
	st, err := s.State(1)
	must(b, err)
	value := make([]byte, 1<<10)
	b.SetBytes(10 << 10)
	b.ResetTimer()
	batch := st.NewBatch()
	for n := range uint64(b.N) {
		for i := n * 10; i < n*10+10; i++ {
			batch.Set(fmt.Appendf(nil, "m%016d", i), value)
			batch.Set(fmt.Appendf(nil, "v%016d", i), nil)
			if i > 5000 {
				batch.Delete(fmt.Appendf(nil, "m%016d", i-5000))
			}
		}
		must(b, batch.Commit(n))
	}
	batch.Close()
}

func BenchmarkGet(b *testing.B) {
	s := benchStore(b)
	st, err := s.State(1)
	must(b, err)
	batch := st.NewBatch()
	const n = 20000
	for i := range n {
		batch.Set(fmt.Appendf(nil, "m%016d", i), make([]byte, 1<<10))
	}
	must(b, batch.Commit(1))
	must(b, st.Flush(b.Context()))
	i := 0
	for b.Loop() {
		i = (i + 7919) % n
		must(b, st.View(fmt.Appendf(nil, "m%016d", i), func([]byte) error { return nil }))
	}
}
