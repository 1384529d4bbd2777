package node

import (
	"math"
	"runtime/debug"
)

// The memory that a node is configured to take is divided so: half is for payloads in the router, a quarter for what the
// waypoint has in flight, and the rest for storage, raft and the runtime.

// tableMemory is one memtable of either database, of which there are eight at most, and the cache of blocks.
func tableMemory(memory int64) int64 { return min(max(memory/64, 4<<20), 16<<20) }

// LimitMemory has the garbage collector work harder as the process comes near to the memory that is configured; left alone it
// lets garbage grow to as much again as is in use. An eighth is left for what the runtime does not count, such as the
// program's text. A limit in the environment (GOMEMLIMIT) counts instead.
func LimitMemory(memory int64) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(memory - memory/8)
	}
}
