package storagetest

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/internal/disk"
	"github.com/posthouse/posthouse/storage/internal/faultfs"
)

// Class, Op and Fault say which operations go wrong, and how.
type (
	Class = disk.Class
	Op    = faultfs.Op
	Fault = faultfs.Fault
)

const (
	Other      = disk.Other
	LogWAL     = disk.LogWAL
	LogTable   = disk.LogTable
	StateTable = disk.StateTable
	Manifest   = disk.Manifest
	Small      = disk.Small
	Staging    = disk.Staging
	Ballast    = disk.Ballast

	AnyOp  = faultfs.AnyOp
	Read   = faultfs.Read
	Write  = faultfs.Write
	Sync   = faultfs.Sync
	Create = faultfs.Create
	Remove = faultfs.Remove
	Usage  = faultfs.Usage
)

// FS is a file system whose faults a test controls. It may be used from any goroutine.
type FS struct {
	base   vfs.FS
	mem    *vfs.MemFS // nil on a real disk
	faults *faultfs.FS

	mu     sync.Mutex
	points []*armed
}

type armed struct {
	point string
	skip  int
	fn    func()
}

// New returns an empty file system in memory.
func New() *FS { return newMemory(vfs.NewCrashableMem()) }

func newMemory(mem *vfs.MemFS) *FS { return &FS{base: mem, mem: mem, faults: faultfs.New(mem)} }

// OnDisk returns the real file system, with faults. It has no power to lose.
func OnDisk() *FS { return &FS{base: vfs.Default, faults: faultfs.New(vfs.Default)} }

// Handle is what storage.Config.FS wants.
func (fs *FS) Handle() storage.FS { return disk.New(fs.faults, fs.reached) }

// Crash returns the file system as a power loss now would leave it: what was synced, and of the rest each
// block and each directory entry with a probability of that many percent. It has no faults. The old one goes
// on, unseen by the new one, so that the Store on it can be closed or left.
func (fs *FS) Crash(unsyncedPercent int, seed uint64) *FS {
	return newMemory(fs.mem.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: unsyncedPercent,
		RNG:                 rand.New(rand.NewPCG(seed, 1)),
	}))
}

// Kill returns the file system as a killed process would leave it: everything that was written.
func (fs *FS) Kill() *FS { return fs.Crash(100, 0) }

// Inject adds a fault; remove ends it.
func (fs *FS) Inject(f Fault) (remove func()) { return fs.faults.Inject(f) }

// Clear ends all faults. What hangs still waits for its channel.
func (fs *FS) Clear() { fs.faults.Clear() }

// Struck counts the operations that faults have hit.
func (fs *FS) Struck() int { return fs.faults.Struck() }

// SetFree limits the free bytes, enforced and reported, from now on; -1 takes the limit away. Without one a
// file system in memory does not report its usage at all.
func (fs *FS) SetFree(bytes int64) { fs.faults.SetFree(bytes) }

// Free is what is left of it; -1 without a limit.
func (fs *FS) Free() int64 { return fs.faults.Free() }

// At calls fn, once, when the named crash point is reached for the skip+1st time; it panics for a point that
// does not exist. fn is called on the goroutine that has got there, with locks held: it may take a Crash and
// must not call the Store.
func (fs *FS) At(point string, skip int, fn func()) {
	if !isPoint(point) {
		panic(fmt.Sprintf("storagetest: no crash point %q", point))
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.points = append(fs.points, &armed{point: point, skip: skip, fn: fn})
}

func (fs *FS) reached(point string) {
	fs.mu.Lock()
	var fire []func()
	kept := fs.points[:0]
	for _, a := range fs.points {
		switch {
		case a.point != point:
			kept = append(kept, a)
		case a.skip > 0:
			a.skip--
			kept = append(kept, a)
		default:
			fire = append(fire, a.fn)
		}
	}
	fs.points = kept
	fs.mu.Unlock()
	for _, fn := range fire {
		fn()
	}
}

// CrashAt takes a Crash when the point is reached for the skip+1st time. The channel gets it then; it is
// empty for ever if the point is never reached.
func (fs *FS) CrashAt(point string, skip, unsyncedPercent int, seed uint64) <-chan *FS {
	ch := make(chan *FS, 1)
	fs.At(point, skip, func() { ch <- fs.Crash(unsyncedPercent, seed) })
	return ch
}
