// Package faultfs is a file system that fails on demand: by class of file and by operation, with an error,
// slowly, or not at all until it is released; and that has only as much room as it is told.
package faultfs

import (
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// Op is a kind of operation.
type Op int

const (
	AnyOp  Op = iota
	Read      // reading a file, listing
	Write     // writing to a file
	Sync      // syncing a file or a directory
	Create    // creating, linking, renaming, making a directory
	Remove    // removing
	Usage     // asking for free space
	numOps
)

var opNames = [numOps]string{"any", "read", "write", "sync", "create", "remove", "usage"}

func (op Op) String() string { return opNames[op] }

// Fault is what happens to operations that match.
type Fault struct {
	Classes []disk.Class // none: all
	Op      Op
	Skip    int           // let that many matching operations pass first
	Times   int           // then strike that often; 0: always
	Err     error         // what the operation returns instead of being done
	Delay   time.Duration // the operation takes that much longer
	Hang    <-chan struct{}
}

func (f *Fault) matches(class disk.Class, op Op) bool {
	if f.Op != AnyOp && f.Op != op {
		return false
	}
	for _, c := range f.Classes {
		if c == class {
			return true
		}
	}
	return len(f.Classes) == 0
}

// FS wraps a file system with faults.
type FS struct {
	vfs.FS

	mu     sync.Mutex
	faults []*active
	struck int
	room   room
}

type active struct {
	Fault
	seen, struck int
}

// New returns a file system that works until it is told otherwise.
func New(fs vfs.FS) *FS { return &FS{FS: fs, room: room{free: -1}} }

// Inject adds a fault. remove ends it; operations that hang in it hang until its channel is closed.
func (fs *FS) Inject(f Fault) (remove func()) {
	a := &active{Fault: f}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.faults = append(fs.faults, a)
	return func() {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		for i, other := range fs.faults {
			if other == a {
				fs.faults = append(fs.faults[:i:i], fs.faults[i+1:]...)
				return
			}
		}
	}
}

// Clear ends all faults, but not the limit of room.
func (fs *FS) Clear() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.faults = nil
}

// Struck counts the operations that any fault has hit.
func (fs *FS) Struck() int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.struck
}

// strike applies the faults that match one operation.
func (fs *FS) strike(name string, op Op) error {
	class := disk.ClassOf(name)
	fs.mu.Lock()
	var hit []Fault
	for _, a := range fs.faults {
		if !a.matches(class, op) {
			continue
		}
		a.seen++
		if a.seen <= a.Skip || a.Times > 0 && a.struck >= a.Times {
			continue
		}
		a.struck++
		fs.struck++
		hit = append(hit, a.Fault)
	}
	fs.mu.Unlock()
	for _, f := range hit {
		if f.Delay > 0 {
			time.Sleep(f.Delay)
		}
		if f.Hang != nil {
			<-f.Hang
		}
		if f.Err != nil {
			return &os.PathError{Op: op.String(), Path: name, Err: f.Err}
		}
	}
	return nil
}

func (fs *FS) Unwrap() vfs.FS { return fs.FS }

func (fs *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.strike(name, Create); err != nil {
		return nil, err
	}
	old := fs.sizeOf(name)
	f, err := fs.FS.Create(name, category)
	if err == nil {
		fs.giveBack(old)
	}
	return fs.wrap(name, f), err
}

func (fs *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := fs.strike(name, Read); err != nil {
		return nil, err
	}
	f, err := fs.FS.Open(name, opts...)
	return fs.wrap(name, f), err
}

func (fs *FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.OpenReadWrite(name, category, opts...)
	return fs.wrap(name, f), err
}

func (fs *FS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	return fs.wrap(name, f), err
}

func (fs *FS) Link(oldname, newname string) error {
	if err := fs.strike(newname, Create); err != nil {
		return err
	}
	return fs.FS.Link(oldname, newname)
}

func (fs *FS) Rename(oldname, newname string) error {
	if err := fs.strike(newname, Create); err != nil {
		return err
	}
	old := fs.sizeOf(newname)
	err := fs.FS.Rename(oldname, newname)
	if err == nil {
		fs.giveBack(old)
	}
	return err
}

func (fs *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.strike(newname, Create); err != nil {
		return nil, err
	}
	f, err := fs.FS.ReuseForWrite(oldname, newname, category)
	return fs.wrap(newname, f), err
}

func (fs *FS) MkdirAll(dir string, perm os.FileMode) error {
	if err := fs.strike(dir, Create); err != nil {
		return err
	}
	return fs.FS.MkdirAll(dir, perm)
}

func (fs *FS) Remove(name string) error {
	if err := fs.strike(name, Remove); err != nil {
		return err
	}
	old := fs.sizeOf(name)
	err := fs.FS.Remove(name)
	if err == nil {
		fs.giveBack(old)
	}
	return err
}

func (fs *FS) RemoveAll(name string) error {
	if err := fs.strike(name, Remove); err != nil {
		return err
	}
	return fs.FS.RemoveAll(name)
}

func (fs *FS) Lock(name string) (io.Closer, error) {
	if err := fs.strike(name, Create); err != nil {
		return nil, err
	}
	return fs.FS.Lock(name)
}

func (fs *FS) List(dir string) ([]string, error) {
	if err := fs.strike(dir, Read); err != nil {
		return nil, err
	}
	return fs.FS.List(dir)
}

func (fs *FS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	if err := fs.strike(path, Usage); err != nil {
		return vfs.DiskUsage{}, err
	}
	if u, ok := fs.limited(); ok {
		return u, nil
	}
	return fs.FS.GetDiskUsage(path)
}

func (fs *FS) wrap(name string, f vfs.File) vfs.File {
	if f == nil {
		return nil
	}
	return &file{File: f, fs: fs, name: name}
}

// file is a file of an FS.
type file struct {
	vfs.File
	fs   *FS
	name string
	end  int64 // furthest byte written through this handle by offset
}

func (f *file) Read(p []byte) (int, error) {
	if err := f.fs.strike(f.name, Read); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.strike(f.name, Read); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

// Write writes what there is room for, like a disk that fills up in the middle of a write.
func (f *file) Write(p []byte) (int, error) {
	if err := f.fs.strike(f.name, Write); err != nil {
		return 0, err
	}
	fits := f.fs.take(len(p))
	n, err := f.File.Write(p[:fits])
	if err == nil && n < len(p) {
		err = &os.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	return n, err
}

// WriteAt takes no room for bytes that are there already.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.strike(f.name, Write); err != nil {
		return 0, err
	}
	if f.end == 0 {
		f.end = f.fs.sizeOf(f.name)
	}
	if grow := off + int64(len(p)) - f.end; grow > 0 {
		if f.fs.take(int(grow)) < int(grow) {
			return 0, &os.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
		}
		f.end += grow
	}
	return f.File.WriteAt(p, off)
}

func (f *file) Sync() error {
	if err := f.fs.strike(f.name, Sync); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *file) SyncData() error {
	if err := f.fs.strike(f.name, Sync); err != nil {
		return err
	}
	return f.File.SyncData()
}
