// Package disk holds the handle of a file system, so that storage and storagetest can share what is inside
// it while nobody else sees the database library's types.
package disk

import "github.com/cockroachdb/pebble/v2/vfs"

// FS is an opaque file system handle. The zero value is the real disk.
type FS struct {
	vfs   vfs.FS
	point func(name string)
}

// New wraps a file system. point, if not nil, is called at the named crash points; it may block.
func New(fs vfs.FS, point func(name string)) FS { return FS{vfs: fs, point: point} }

// IsZero says whether fs is the zero value.
func IsZero(fs FS) bool { return fs.vfs == nil && fs.point == nil }

// VFS returns the file system inside fs. It is a function, and this package internal, so that the handle
// stays opaque to everybody outside storage.
func VFS(fs FS) vfs.FS {
	if fs.vfs == nil {
		return vfs.Default
	}
	return fs.vfs
}

// Point tells the harness, if any, that the named crash point has been reached.
func Point(fs FS, name string) {
	if fs.point != nil {
		fs.point(name)
	}
}
