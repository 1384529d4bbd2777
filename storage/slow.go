package storage

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// hangingDisk is how often the health checks look, at most: an operation that is not over by then is reported
// while it hangs, one that was slow when it is over.
const hangingDisk = 2 * time.Second

// diskHangs is called from the monitor of the disk: no I/O, no waiting.
func (s *Store) diskHangs(info vfs.DiskSlowInfo) {
	select {
	case s.slow <- info:
	default:
	}
}

func (s *Store) reportHanging() {
	defer s.wg.Done()
	for {
		select {
		case <-s.stop:
			return
		case info := <-s.slow:
			s.metrics.hanging.Inc()
			s.cfg.Logger.Warn("disk hangs", "op", info.OpType.String(), "file", info.Path, "since", info.Duration)
		}
	}
}

// synced is told of every fsync.
func (s *Store) synced(path string, class disk.Class, took time.Duration) {
	s.metrics.byClass[class].Observe(took.Seconds())
	if took > s.cfg.SlowDisk {
		s.metrics.slow.Inc()
		s.cfg.Logger.Warn("disk is slow", "op", "sync", "file", path, "took", took)
	}
}
