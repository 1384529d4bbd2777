package storagetest

import (
	"io"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// Files lists the files of a class below a data directory, oldest first, as far as their names say.
func (fs *FS) Files(t testing.TB, dir string, class Class) []string {
	t.Helper()
	var found []string
	for _, sub := range []string{dir, fs.base.PathJoin(dir, disk.LogDir), fs.base.PathJoin(dir, disk.StateDir)} {
		names, err := fs.base.List(sub)
		if err != nil {
			continue // not every directory is there
		}
		for _, name := range names {
			if path := fs.base.PathJoin(sub, name); disk.ClassOf(path) == class {
				found = append(found, path)
			}
		}
	}
	slices.Sort(found)
	return found
}

// Size is the size of a file.
func (fs *FS) Size(t testing.TB, path string) int64 {
	t.Helper()
	info, err := fs.base.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// Bytes is the content of a file.
func (fs *FS) Bytes(t testing.TB, path string) []byte {
	t.Helper()
	f, err := fs.base.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FlipBit flips one bit of a file that no Store has open.
func (fs *FS) FlipBit(t testing.TB, path string, offset int64) {
	t.Helper()
	b := fs.Bytes(t, path)
	b[offset] ^= 0x10
	fs.rewrite(t, path, b)
}

// Cut shortens a file that no Store has open.
func (fs *FS) Cut(t testing.TB, path string, size int64) {
	t.Helper()
	fs.rewrite(t, path, fs.Bytes(t, path)[:size])
}

// Delete removes a file, or a directory with all that is in it.
func (fs *FS) Delete(t testing.TB, path string) {
	t.Helper()
	if err := fs.base.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	fs.syncDir(t, path)
}

// Replace puts content in the place of a file that no Store has open.
func (fs *FS) Replace(t testing.TB, path string, content []byte) {
	t.Helper()
	fs.rewrite(t, path, content)
}

func (fs *FS) rewrite(t testing.TB, path string, content []byte) {
	t.Helper()
	f, err := fs.base.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	fs.syncDir(t, path)
}

func (fs *FS) syncDir(t testing.TB, path string) {
	t.Helper()
	d, err := fs.base.OpenDir(fs.base.PathDir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
}
