package storage

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// Names in the staging directory of a group: staging/<group in hex>/.
const (
	progressName = "progress"
	metaName     = "meta.sst"
)

func tableName(n uint32) string { return fmt.Sprintf("%08d.sst", n) }

func (s *Store) stagingOf(group uint32) string {
	return s.fs.PathJoin(s.cfg.Dir, disk.StagingDir, fmt.Sprintf("%08x", group))
}

// progress is how far an import has come, durably.
type progress struct {
	header   Header
	at       dumpPosition // behind the last chunk that is in a table
	tables   uint32
	complete bool
}

func (p progress) write(fs vfs.FS, dir string) error {
	b := p.header.Append([]byte{layoutVersion})
	for _, n := range []uint64{p.at.number, p.at.chain, p.at.keys, p.at.bytes} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.BigEndian.AppendUint32(b, p.tables)
	if p.complete {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return replaceFile(fs, dir, progressName, seal(append(b, p.at.key...)))
}

func readProgress(fs vfs.FS, dir string) (p progress, err error) {
	b, err := readFile(fs, fs.PathJoin(dir, progressName))
	if err != nil {
		return p, err
	}
	if b, err = unseal(b); err != nil {
		return p, err
	}
	r := reader{b: b}
	if v := r.byte(); v != layoutVersion {
		return p, errRecord
	}
	if p.header, err = ParseHeader(r.take(headerLen + 8)); err != nil {
		return p, err
	}
	p.at = dumpPosition{number: r.uint64(), chain: r.uint64(), keys: r.uint64(), bytes: r.uint64()}
	p.tables = r.uint32()
	p.complete = r.byte() == 1
	p.at.key = append([]byte(nil), r.b...)
	return p, r.err
}

// cleanStaging removes what an Import that was finished, or whose progress cannot be read, has left behind.
func (s *Store) cleanStaging() error {
	root := s.path(disk.StagingDir)
	names, err := s.fs.List(root)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		dir := s.fs.PathJoin(root, name)
		if s.stagingIsUseful(name, dir) {
			continue
		}
		s.cfg.Logger.Info("staged files of a finished or damaged import are removed", "dir", dir)
		if err := s.fs.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) stagingIsUseful(name, dir string) bool {
	group, err := strconv.ParseUint(name, 16, 32)
	if err != nil {
		return false
	}
	p, err := readProgress(s.fs, dir)
	if err != nil {
		return false
	}
	m, err := (&State{s: s, group: uint32(group)}).durableMeta()
	return err == nil && !(m.hasRestored && m.restored.ID == p.header.ID)
}
