//go:build !posthouse_faults

package storage

// Disk is the real file system.
func Disk() FS { return FS{} }
