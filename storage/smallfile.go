package storage

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

var errChecksum = errors.New("checksum is wrong")

// seal appends a checksum; unseal checks and removes it.
func seal(b []byte) []byte { return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b)) }

func unseal(b []byte) ([]byte, error) {
	n := len(b) - 8
	if n < 0 || binary.BigEndian.Uint64(b[n:]) != xxhash.Sum64(b[:n]) {
		return nil, errChecksum
	}
	return b[:n], nil
}

// replaceFile puts content in the place of a small file: after a crash there is either the old or the new
// one, whole; after a return without error there is the new one.
func replaceFile(fs vfs.FS, dir, name string, content []byte) error {
	for {
		err := replaceFileOnce(fs, dir, name, content)
		// A sync that failed for want of space has waited for some; its file is given up, never synced again.
		if err == nil || !isNoSpace(err) {
			return err
		}
	}
}

func replaceFileOnce(fs vfs.FS, dir, name string, content []byte) error {
	tmp := fs.PathJoin(dir, name+disk.Temporary)
	f, err := fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := fs.Rename(tmp, fs.PathJoin(dir, name)); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return errors.Join(err, d.Close())
	}
	return d.Close()
}

func readFile(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

func exists(fs vfs.FS, path string) (bool, error) {
	_, err := fs.Stat(path)
	if err == nil {
		return true, nil
	}
	if isNotExist(err) {
		return false, nil
	}
	return false, err
}
