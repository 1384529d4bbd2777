package storage

import (
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The way back up is an eighth wider than the way down, so that a level does not flap.
func TestSpaceLevels(t *testing.T) {
	sp := newSpace(vfs.NewMem(), Config{LowSpace: 800, FullSpace: 80, Logger: slog.New(slog.DiscardHandler)})
	const unknown = -1
	level := SpaceOK
	for i, c := range []struct {
		free    int64
		waiting bool
		want    SpaceLevel
	}{
		{unknown, false, SpaceOK},
		{unknown, true, SpaceFull},
		{unknown, false, SpaceOK},
		{1000, false, SpaceOK},
		{800, false, SpaceOK},
		{799, false, SpaceLow},
		{899, false, SpaceLow},
		{900, false, SpaceOK},
		{79, false, SpaceFull},
		{89, false, SpaceFull},
		{90, false, SpaceLow},
		{5000, true, SpaceFull},
		{5000, false, SpaceOK},
	} {
		now := Space{Free: c.free, Total: 10000, Waiting: c.waiting}
		if c.free == unknown {
			now.Free, now.Total = 0, 0
		}
		if level = sp.level(level, now); level != c.want {
			t.Fatalf("step %d: %s, want %s", i, level, c.want)
		}
	}
}
