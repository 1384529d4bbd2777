package storage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Export is a dump of a group's keys as they were at one index, in chunks that check themselves. Commits go
// on meanwhile. It is given up when nobody asks for Config.ExportIdle, or when the disk is full.
//
// It reads from an "eventually file-only" snapshot: once what was in memory is flushed, that is a set of
// tables and nothing else. Unlike a plain snapshot it keeps no deleted key alive in later compactions, and
// unlike a checkpoint it leaves no directory behind that a crash would leak. What it costs is the space of
// tables that are replaced meanwhile.
type Export struct {
	s      *Store
	group  uint32
	header Header

	mu     sync.Mutex
	snap   *pebble.EventuallyFileOnlySnapshot
	starts []dumpPosition // where chunk n begins, as far as is known
	ended  bool           // the last of starts is behind the last chunk
	used   time.Time
	gone   error
}

// Export begins a dump. It blocks for a flush.
func (st *State) Export(ctx context.Context) (*Export, error) {
	leave, err := st.s.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	lower, upper := stateSpan(st.group)
	e := &Export{
		s: st.s, group: st.group, used: time.Now(), starts: make([]dumpPosition, 1),
		header: Header{Version: layoutVersion},
		snap:   st.s.stateDB.NewEventuallyFileOnlySnapshot([]pebble.KeyRange{{Start: lower, End: upper}}),
	}
	rand.Read(e.header.ID[:])
	if err := st.s.flushState(ctx); err != nil {
		return nil, errors.Join(err, e.snap.Close())
	}
	err = st.s.view(e.snap, metaKey(st.group, metaApplied), func(v []byte) error { return parseFixed(v, &e.header.Index) })
	if err != nil && err != ErrNotFound {
		return nil, errors.Join(err, e.snap.Close())
	}
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	st.s.exports[e] = struct{}{}
	return e, nil
}

// Header says which export this is and at which index.
func (e *Export) Header() Header { return e.header }

// Chunk returns chunk n, 0 <= n, of about 1 MiB (more if one value is larger); last says that there is none
// behind it. Chunks up to the furthest one asked for plus one may be asked for, in any order, any number of
// times; the bytes are the same each time and the caller's to keep. It reads from disk. ErrExportGone: begin
// again.
func (e *Export) Chunk(n uint64) (chunk []byte, last bool, err error) {
	leave, err := e.s.enter()
	if err != nil {
		return nil, false, err
	}
	defer leave()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone != nil {
		return nil, false, e.gone
	}
	known := uint64(len(e.starts))
	if e.ended {
		known--
	}
	if n >= known {
		return nil, false, fmt.Errorf("%w: chunk %d of %d", ErrNotFound, n, known)
	}
	e.used = time.Now()
	chunk, next, last := e.build(e.starts[n])
	if n+1 == uint64(len(e.starts)) {
		e.starts = append(e.starts, next)
		e.ended = last
	}
	return chunk, last, nil
}

func (e *Export) build(p dumpPosition) (chunk []byte, next dumpPosition, last bool) {
	it := e.s.newIter(e.snap, e.group, p.key, nil)
	c := newChunk(e.header, p)
	ok := it.First()
	for ; ok && len(c.b) < chunkBytes; ok = it.Next() {
		c.add(it.Key(), it.Value())
	}
	var key []byte
	if ok {
		key = append(key, it.Key()...)
	}
	e.s.fail("state cannot be read", it.Close())
	chunk, sum := c.finish(p, !ok)
	return chunk, p.after(sum, uint64(c.count), c.bytes, key), !ok
}

// Close ends the export. A second Close returns nil.
func (e *Export) Close() error {
	e.s.mu.Lock()
	delete(e.s.exports, e)
	e.s.mu.Unlock()
	return e.end(ErrExportGone)
}

func (e *Export) end(why error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone != nil {
		return nil
	}
	e.gone = why
	return e.snap.Close()
}

func (e *Export) idle(now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return now.Sub(e.used)
}

// exportLoop gives up exports that nobody asks for, and all of them when the disk is full: they hold space
// that could come back.
func (s *Store) exportLoop() {
	defer s.wg.Done()
	tick := time.NewTicker(min(s.cfg.SpaceInterval, s.cfg.ExportIdle))
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case now := <-tick.C:
			full := s.Space().Level == SpaceFull
			for _, e := range s.openExports() {
				if idle := e.idle(now); full || idle > s.cfg.ExportIdle {
					s.cfg.Logger.Warn("export is given up", "group", e.group, "index", e.header.Index, "idle", idle, "diskFull", full)
					s.fail("export cannot be closed", e.Close())
				}
			}
		}
	}
}

func (s *Store) openExports() []*Export {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Export, 0, len(s.exports))
	for e := range s.exports {
		all = append(all, e)
	}
	return all
}

func (s *Store) closeExports() (err error) {
	for _, e := range s.openExports() {
		err = errors.Join(err, e.Close())
	}
	return err
}
