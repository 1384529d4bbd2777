package storage

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// guard is the file system that everything in a Store goes through: it waits for space, times what is synced,
// and knows how far each manifest has been synced.
//
// It is not vfs.OnDiskFull: that one tries a write again only once, so that a second writer's ENOSPC (which
// took the room that the first one's waiting had found) ends the process, and it does not know quotas.
type guard struct {
	vfs.FS
	space  *space
	synced func(path string, class disk.Class, took time.Duration)
	failed func(path string, err error) // ends the process; never returns
	armed  atomic.Bool                  // the Store is open: a write that cannot be taken back is fatal

	mu        sync.Mutex
	opened    string                  // file that was opened last for reading: the suspect when an open fails
	manifests map[string]manifestMark // by directory: the manifest written to last
}

// manifestMark says how much of which manifest has been synced.
type manifestMark struct {
	name string
	size int64
}

func newGuard(fs vfs.FS, sp *space, synced func(string, disk.Class, time.Duration), failed func(string, error)) *guard {
	return &guard{FS: fs, space: sp, synced: synced, failed: failed, manifests: make(map[string]manifestMark)}
}

// Unwrap lets the database find the file system beneath.
func (g *guard) Unwrap() vfs.FS { return g.FS }

func (g *guard) retry(path string, op func() error) error {
	for {
		err := op()
		if err == nil || !isNoSpace(err) || !g.space.wait(path) {
			return err
		}
	}
}

// check ends the process when a write to what a database cannot do without has failed. The database would end
// it, too, but some ways there are a panic with locks held, whose message says nothing of the disk.
func (g *guard) check(path string, err error) error {
	if err != nil && g.armed.Load() {
		switch disk.ClassOf(path) {
		case disk.LogWAL, disk.Manifest:
			g.failed(path, err)
		}
	}
	return err
}

func (g *guard) Create(name string, category vfs.DiskWriteCategory) (f vfs.File, err error) {
	err = g.retry(name, func() (err error) { f, err = g.FS.Create(name, category); return err })
	return g.wrap(name, f, true), g.check(name, err)
}

func (g *guard) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	g.mu.Lock()
	g.opened = name
	g.mu.Unlock()
	return g.FS.Open(name, opts...)
}

func (g *guard) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := g.FS.OpenReadWrite(name, category, opts...)
	return g.wrap(name, f, false), err
}

func (g *guard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	return g.wrap(name, f, false), err
}

func (g *guard) Link(oldname, newname string) error {
	return g.retry(newname, func() error { return g.FS.Link(oldname, newname) })
}

func (g *guard) Remove(name string) error {
	return g.retry(name, func() error { return g.FS.Remove(name) })
}

func (g *guard) RemoveAll(name string) error {
	return g.retry(name, func() error { return g.FS.RemoveAll(name) })
}

func (g *guard) Rename(oldname, newname string) error {
	return g.check(newname, g.retry(newname, func() error { return g.FS.Rename(oldname, newname) }))
}

func (g *guard) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (f vfs.File, err error) {
	err = g.retry(newname, func() (err error) { f, err = g.FS.ReuseForWrite(oldname, newname, category); return err })
	return g.wrap(newname, f, true), g.check(newname, err)
}

func (g *guard) MkdirAll(dir string, perm os.FileMode) error {
	return g.retry(dir, func() error { return g.FS.MkdirAll(dir, perm) })
}

func (g *guard) Lock(name string) (c io.Closer, err error) {
	err = g.retry(name, func() (err error) { c, err = g.FS.Lock(name); return err })
	return c, err
}

func (g *guard) wrap(name string, f vfs.File, fresh bool) vfs.File {
	if f == nil {
		return nil
	}
	gf := &guardFile{File: f, g: g, name: name, class: disk.ClassOf(name)}
	if fresh && isManifest(g.PathBase(name)) {
		gf.manifest = true
	}
	return gf
}

// suspect is the file that was opened last.
func (g *guard) suspect() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened
}

// manifestOf says how far the newest manifest in dir has been synced, as far as this guard has seen it.
func (g *guard) manifestOf(dir string) (manifestMark, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m, ok := g.manifests[dir]
	return m, ok
}

// guardFile is a file of a guard.
type guardFile struct {
	vfs.File
	g        *guard
	name     string
	class    disk.Class
	manifest bool
	written  int64 // of a manifest; its only writer writes and syncs in turn
}

func (f *guardFile) Write(p []byte) (n int, err error) {
	for {
		var m int
		m, err = f.File.Write(p[n:])
		n += m
		if f.manifest {
			f.written += int64(m)
		}
		if err == nil || !isNoSpace(err) || !f.g.space.wait(f.name) {
			return n, f.g.check(f.name, err)
		}
	}
}

func (f *guardFile) WriteAt(p []byte, off int64) (n int, err error) {
	for {
		var m int
		m, err = f.File.WriteAt(p[n:], off+int64(n))
		n += m
		if err == nil || !isNoSpace(err) || !f.g.space.wait(f.name) {
			return n, f.g.check(f.name, err)
		}
	}
}

// Sync is never tried again: after one that failed, a second one that succeeds means nothing. When it failed
// for want of space the error is held back until there is some, so that a flush that starts over with a new
// file does not spin.
func (f *guardFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *guardFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *guardFile) sync(op func() error) error {
	start := time.Now()
	err := op()
	f.g.synced(f.name, f.class, time.Since(start))
	if err != nil {
		err = f.g.check(f.name, err)
		if isNoSpace(err) {
			f.g.space.wait(f.name)
		}
		return err
	}
	if f.manifest {
		dir, base := f.g.PathDir(f.name), f.g.PathBase(f.name)
		f.g.mu.Lock()
		f.g.manifests[dir] = manifestMark{name: base, size: f.written}
		f.g.mu.Unlock()
	}
	return nil
}
