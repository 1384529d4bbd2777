package faultfs

import "github.com/cockroachdb/pebble/v2/vfs"

// room is a limit of free space. It is counted in what is written and removed through this file system from
// the moment it is set; hard links count once for each name.
type room struct {
	free  int64 // -1: no limit
	total int64
}

// SetFree limits the free bytes from now on; -1 takes the limit away.
func (fs *FS) SetFree(bytes int64) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.room.free = bytes
	fs.room.total = max(fs.room.total, bytes, 1)
}

// Free is what is left; -1 without a limit.
func (fs *FS) Free() int64 {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.room.free
}

// take takes up to n bytes of the room and says how many there were.
func (fs *FS) take(n int) int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.room.free < 0 {
		return n
	}
	fits := min(int64(n), fs.room.free)
	fs.room.free -= fits
	return int(fits)
}

func (fs *FS) giveBack(n int64) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.room.free >= 0 {
		fs.room.free += n
		fs.room.total = max(fs.room.total, fs.room.free)
	}
}

func (fs *FS) sizeOf(name string) int64 {
	info, err := fs.FS.Stat(name)
	if err != nil || info.IsDir() {
		return 0
	}
	return info.Size()
}

func (fs *FS) limited() (u vfs.DiskUsage, ok bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.room.free < 0 {
		return u, false
	}
	return vfs.DiskUsage{
		AvailBytes: uint64(fs.room.free),
		TotalBytes: uint64(fs.room.total),
		UsedBytes:  uint64(fs.room.total - fs.room.free),
	}, true
}
