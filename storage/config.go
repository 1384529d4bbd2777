package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/posthouse/posthouse/storage/internal/disk"
	"github.com/prometheus/client_golang/prometheus"
)

// FS is an opaque handle of a file system: Disk(), or one that storagetest makes. Every durable byte of a
// Store goes through it.
type FS = disk.FS

// Config is what Open needs. Zero fields other than Dir, Cluster, Node and Fatal take the defaults named.
type Config struct {
	Dir     string // data directory; made if missing
	FS      FS     // default: Disk()
	Cluster string // cluster id; written at the first Open of an empty directory, compared afterwards
	Node    string // node name; likewise

	Logger     *slog.Logger          // default: discards
	Registerer prometheus.Registerer // default: no metrics

	// Fatal ends the process: the log could not be synced, or bytes are corrupt. It is called with the
	// database's locks held, so it must not call back into the Store, and it must not return: a write that
	// failed would count as done. It should flush the logger and exit. If it does return, the calling
	// goroutine stops for ever. Required.
	Fatal func(msg string, err error)

	LogMemory   int64 // one memtable of the log database; default 16 MiB (up to two, touched as they fill)
	StateMemory int64 // one memtable of the state database; default 16 MiB (up to four, touched as they fill)
	Cache       int64 // block cache shared by both databases; default 16 MiB
	EntryCache  int64 // recent entries kept in memory, per group, in bytes; default 4 MiB

	Reserve   int64 // reserve file, freed when the disk is full; default 64 MiB, < 0: none
	LowSpace  int64 // free bytes below which the level is SpaceLow; default 1 GiB
	FullSpace int64 // free bytes below which the level is SpaceFull; default 256 MiB

	SpaceInterval time.Duration // how often free space is looked at; default 1 s
	MarkInterval  time.Duration // how often the tail marks are refreshed; default 100 ms
	SlowDisk      time.Duration // a sync that took longer is reported; one that hangs is, after 2 s at least; default 500 ms
	ExportIdle    time.Duration // an Export not asked for that long is given up; default 1 min

	ScrubInterval time.Duration // all tables are read at the start and then so often, to find damage while others are whole; default: never
	ScrubRate     int64         // bytes a second that a scrub reads at most; default 64 MiB
}

func (c Config) withDefaults() Config {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	defD := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.LogMemory, 16<<20)
	def(&c.StateMemory, 16<<20)
	def(&c.Cache, 16<<20)
	def(&c.EntryCache, 4<<20)
	def(&c.Reserve, 64<<20)
	def(&c.LowSpace, 1<<30)
	def(&c.FullSpace, 256<<20)
	defD(&c.SpaceInterval, time.Second)
	defD(&c.MarkInterval, 100*time.Millisecond)
	defD(&c.SlowDisk, 500*time.Millisecond)
	defD(&c.ExportIdle, time.Minute)
	def(&c.ScrubRate, 64<<20)
	if disk.IsZero(c.FS) {
		c.FS = Disk()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate says what is wrong with c, naming every field at fault. Open calls it.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Dir == "", "Dir is empty")
	bad(c.Cluster == "", "Cluster is empty")
	bad(c.Node == "", "Node is empty")
	bad(c.Fatal == nil, "Fatal is missing")
	// Batches above half a memtable become flushables of their own; entries are up to 1 MiB each.
	bad(c.LogMemory < 1<<20, "LogMemory %d is below 1 MiB", c.LogMemory)
	bad(c.StateMemory < 1<<18, "StateMemory %d is below 256 KiB", c.StateMemory)
	bad(c.Cache < 0, "Cache is negative")
	bad(c.EntryCache < 0, "EntryCache is negative")
	bad(c.FullSpace < 0 || c.LowSpace < c.FullSpace, "LowSpace %d is below FullSpace %d", c.LowSpace, c.FullSpace)
	bad(c.SpaceInterval < 0 || c.MarkInterval < 0 || c.SlowDisk < 0 || c.ExportIdle < 0 || c.ScrubInterval < 0, "an interval is negative")
	bad(c.ScrubRate < 0, "ScrubRate is negative")
	return errors.Join(errs...)
}
