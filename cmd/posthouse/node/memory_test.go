package node

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestMemoryIsLimited(t *testing.T) {
	before := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(before)
	LimitMemory(800 << 20)
	if got := debug.SetMemoryLimit(-1); got != 700<<20 {
		t.Errorf("the runtime is limited to %d, not to 700 MiB", got)
	}
	LimitMemory(80 << 20) // one is set already: it counts
	if got := debug.SetMemoryLimit(-1); got != 700<<20 {
		t.Errorf("a limit that was set became %d", got)
	}
}

func TestTableMemory(t *testing.T) {
	for memory, want := range map[int64]int64{64 << 20: 4 << 20, 512 << 20: 8 << 20, 1 << 30: 16 << 20, 64 << 30: 16 << 20} {
		if got := tableMemory(memory); got != want {
			t.Errorf("of %d a table gets %d, not %d", memory, got, want)
		}
	}
}
