package storage

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	dbrecord "github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const manifestPrefix = "MANIFEST-"

func isManifest(base string) bool { return strings.HasPrefix(base, manifestPrefix) }

// verifyManifest refuses a manifest that has lost what was once synced to it. The database itself reads a
// manifest up to the first damaged record and takes that for the whole: it would come back as it was long ago
// and remove the tables that it no longer knows.
func verifyManifest(fs vfs.FS, dir string, m manifestMark) error {
	name, err := currentManifest(fs, dir)
	if err != nil {
		return err
	}
	path := fs.PathJoin(dir, name)
	if name != m.name {
		if manifestNumber(name) < manifestNumber(m.name) {
			return fmt.Errorf("%s is older than %s, which was once in use", path, m.name)
		}
		return nil // made after the last mark
	}
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	err = readRecords(f, m.size)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return errors.Join(err, f.Close())
}

// recordPadding is the most that a writer leaves unused at the end of a block.
const recordPadding = 6

// readRecords reads whole records until they cover the first size bytes.
func readRecords(f io.Reader, size int64) error {
	r := dbrecord.NewReader(f, 0)
	for whole := int64(0); whole+recordPadding < size; whole = r.Offset() {
		rec, err := r.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, rec)
		}
		if err != nil {
			return fmt.Errorf("damaged behind byte %d, %d bytes were synced: %w", whole, size, err)
		}
	}
	return nil
}

// currentManifest finds the manifest that the database's marker names: marker.manifest.<iteration>.<name>.
func currentManifest(fs vfs.FS, dir string) (string, error) {
	names, err := fs.List(dir)
	if err != nil {
		return "", err
	}
	current, newest := "", uint64(0)
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, "marker.manifest.")
		if !ok {
			continue
		}
		iteration, value, _ := strings.Cut(rest, ".")
		if n, err := strconv.ParseUint(iteration, 10, 64); err == nil && (current == "" || n > newest) {
			current, newest = value, n
		}
	}
	if current == "" {
		return "", fmt.Errorf("%s: the marker file of its manifest is missing", dir)
	}
	return current, nil
}

func manifestNumber(name string) uint64 {
	n, err := strconv.ParseUint(strings.TrimPrefix(name, manifestPrefix), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
