package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// The marks file says what was once synced, outside of the databases, so that a damaged database can be told
// from a short one. A write-ahead log ends where it stops making sense: damage in its last block looks like
// the torn end that a power loss leaves, and a manifest that is cut is simply an older one. A mark is a lower
// bound, written after what it speaks of, so a sound database is never below it. It is lowered, synced, before
// anything that it speaks of is removed.
//
// The file has two slots, written in turn and in place: an overwrite needs one sync and no change of metadata,
// and a torn one leaves the other slot.
const (
	marksSlot  = 64 << 10
	marksMagic = "PHMARKS1"
)

// mark is what was synced of one group.
type mark struct {
	life    uint64 // how often the log has been reseeded
	index   uint64 // last entry
	term    uint64 // its term
	current uint64 // current term
	applied uint64 // durable applied index of the state
}

// before says whether a log that ends at (index, term) is shorter than the mark. Terms come first: a tail
// that was replaced by a shorter one of a newer term is not short.
func (m mark) before(index, term uint64) bool {
	return term < m.term || term == m.term && index < m.index
}

// markSet is the content of the file.
type markSet struct {
	groups    map[uint32]mark
	manifests map[string]manifestMark // by database directory name
}

func (s markSet) equal(o markSet) bool {
	return maps.Equal(s.groups, o.groups) && maps.Equal(s.manifests, o.manifests)
}

func (s markSet) encode(seq uint64) ([]byte, error) {
	b := append(make([]byte, 0, 1024), marksMagic...)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = binary.BigEndian.AppendUint32(b, 0) // length, below
	b = append(b, byte(len(s.manifests)))
	for _, db := range slices.Sorted(maps.Keys(s.manifests)) {
		m := s.manifests[db]
		b = append(append(b, byte(len(db))), db...)
		b = append(append(b, byte(len(m.name))), m.name...)
		b = binary.BigEndian.AppendUint64(b, uint64(m.size))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.groups)))
	for _, g := range slices.Sorted(maps.Keys(s.groups)) {
		m := s.groups[g]
		b = binary.BigEndian.AppendUint32(b, g)
		for _, n := range []uint64{m.life, m.index, m.term, m.current, m.applied} {
			b = binary.BigEndian.AppendUint64(b, n)
		}
	}
	binary.BigEndian.PutUint32(b[len(marksMagic)+8:], uint32(len(b)))
	if b = seal(b); len(b) > marksSlot {
		return nil, fmt.Errorf("%d groups do not fit into the marks file", len(s.groups))
	}
	return b, nil
}

func decodeMarks(b []byte) (s markSet, seq uint64, err error) {
	const header = len(marksMagic) + 8 + 4
	if len(b) < header || string(b[:len(marksMagic)]) != marksMagic {
		return s, 0, errRecord
	}
	seq = binary.BigEndian.Uint64(b[len(marksMagic):])
	n := int(binary.BigEndian.Uint32(b[len(marksMagic)+8:]))
	if n < header || n+8 > len(b) {
		return s, 0, errRecord
	}
	if b, err = unseal(b[:n+8]); err != nil {
		return s, 0, err
	}
	r := reader{b: b[header:]}
	s = markSet{groups: make(map[uint32]mark), manifests: make(map[string]manifestMark)}
	for range r.byte() {
		db := string(r.take(int(r.byte())))
		name := string(r.take(int(r.byte())))
		s.manifests[db] = manifestMark{name: name, size: int64(r.uint64())}
	}
	for range r.uint32() {
		if r.err != nil {
			break
		}
		g := r.uint32()
		s.groups[g] = mark{life: r.uint64(), index: r.uint64(), term: r.uint64(), current: r.uint64(), applied: r.uint64()}
	}
	return s, seq, r.err
}

// marks keeps the marks file. Its file is written by one goroutine at a time.
type marks struct {
	fs   vfs.FS
	path string

	io   sync.Mutex // guards all below
	file vfs.File
	seq  uint64
	last markSet
}

// createMarks makes an empty marks file.
func createMarks(fs vfs.FS, dir string) error {
	b, err := markSet{}.encode(1)
	if err != nil {
		return err
	}
	// The whole length is written at once, so that later writes change no metadata.
	whole := make([]byte, 2*marksSlot)
	copy(whole[marksSlot:], b) // odd numbers go to the second slot
	return replaceFile(fs, dir, disk.Marks, whole)
}

func openMarks(fs vfs.FS, dir string) (*marks, error) {
	m := &marks{fs: fs, path: fs.PathJoin(dir, disk.Marks)}
	b, err := readFile(fs, m.path)
	if isNotExist(err) {
		return nil, &CorruptError{Path: m.path, Remedy: remedyNewReplica, Err: errors.New("file is missing")}
	}
	if err != nil {
		return nil, err
	}
	var reasons []error
	for slot := range 2 {
		if len(b) < slot*marksSlot {
			break
		}
		set, seq, err := decodeMarks(b[slot*marksSlot : min(len(b), (slot+1)*marksSlot)])
		if err != nil {
			reasons = append(reasons, err)
			continue
		}
		if seq > m.seq {
			m.seq, m.last = seq, set
		}
	}
	if m.seq == 0 {
		return nil, &CorruptError{Path: m.path, Remedy: remedyNewReplica, Err: errors.Join(reasons...)}
	}
	if m.file, err = fs.OpenReadWrite(m.path, vfs.WriteCategoryUnspecified); err != nil {
		return nil, err
	}
	// What was read may be in no more than the system's cache, left there by a process that was killed. It is
	// taken for durable from here on, so it has to be.
	if err := m.file.Sync(); err != nil {
		return nil, errors.Join(err, m.file.Close())
	}
	return m, nil
}

// update asks gather for the present marks and makes them durable, if they differ from the last ones. gather
// is called with the file's lock held, so that an older set never overwrites a newer one.
func (m *marks) update(gather func(before markSet) (markSet, error)) error {
	m.io.Lock()
	defer m.io.Unlock()
	next, err := gather(m.last)
	if err != nil || next.equal(m.last) {
		return err
	}
	b, err := next.encode(m.seq + 1)
	if err != nil {
		return err
	}
	if _, err := m.file.WriteAt(b, int64((m.seq+1)%2)*marksSlot); err != nil {
		return fmt.Errorf("write %s: %w", m.path, err)
	}
	if err := m.file.SyncData(); err != nil {
		return fmt.Errorf("sync %s: %w", m.path, err)
	}
	m.seq++
	m.last = next
	return nil
}

// groups is what the file says of one group.
func (m *marks) groups(group uint32) mark {
	m.io.Lock()
	defer m.io.Unlock()
	return m.last.groups[group]
}

func (m *marks) close() error {
	m.io.Lock()
	defer m.io.Unlock()
	return m.file.Close()
}

// markLoop refreshes the marks while something changes. A slow disk is not burdened further: the pause is at
// least ten times what the last refresh took.
func (s *Store) markLoop() {
	defer s.wg.Done()
	pause := s.cfg.MarkInterval
	for {
		timer := time.NewTimer(pause)
		select {
		case <-s.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = s.cfg.MarkInterval
		if !s.dirty.Swap(false) {
			continue
		}
		start := time.Now()
		if err := s.updateMarks(); err != nil {
			s.fatal("marks cannot be kept", err)
		}
		pause = max(pause, 10*time.Since(start))
	}
}

// updateMarks makes what is synced now durable as marks.
func (s *Store) updateMarks() error {
	return s.marks.update(func(before markSet) (markSet, error) {
		next := s.markManifests(before)
		s.mu.Lock()
		logs, states := maps.Clone(s.logs), maps.Clone(s.states)
		s.mu.Unlock()
		for g, l := range logs {
			m := l.mark()
			m.applied = next.groups[g].applied
			if _, was := next.groups[g]; was || m != (mark{}) {
				next.groups[g] = m
			}
		}
		for g, st := range states {
			applied, err := st.markable()
			if err != nil {
				return next, err
			}
			if m := next.groups[g]; m.applied != applied {
				m.applied = applied
				next.groups[g] = m
			}
		}
		return next, nil
	})
}

// updateManifestMarks is updateMarks after the databases are closed: only their manifests can still have grown.
func (s *Store) updateManifestMarks() error {
	return s.marks.update(func(before markSet) (markSet, error) { return s.markManifests(before), nil })
}

func (s *Store) markManifests(before markSet) markSet {
	next := markSet{groups: maps.Clone(before.groups), manifests: maps.Clone(before.manifests)}
	for _, db := range []string{disk.LogDir, disk.StateDir} {
		if m, ok := s.fs.manifestOf(s.path(db)); ok {
			next.manifests[db] = m
		}
	}
	return next
}
