package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// tableBytes is the size at which a staged table is closed and the progress made durable.
const tableBytes = 32 << 20

// Restored marks a state that came from an Import.
type Restored struct {
	ID    [16]byte
	Index uint64
}

// Import gathers the chunks of one Export on disk and puts them in the place of the group's state. Nothing of
// it is seen before Finish, and all of it after. It belongs to one goroutine.
//
// Chunks go straight into tables of the database's own format, so that each byte is written once. A table is
// synced when it is closed, then the progress file says so: after a crash an Import goes on behind the last
// such table.
type Import struct {
	st       *State
	dir      string
	table    int64 // size at which a table is closed
	progress progress
	at       dumpPosition // behind the last chunk taken
	w        *sstable.Writer
	err      error // sticky: the staged part is in an unknown state
	closed   bool
}

// Import begins, or goes on with, the import of the export that h describes; the staged part of another one
// is removed. A group has one Import at a time.
func (st *State) Import(h Header) (*Import, error) {
	if err := h.validate(); err != nil {
		return nil, err
	}
	leave, err := st.s.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	im := &Import{st: st, dir: st.s.stagingOf(st.group), table: st.s.tableBytes}
	st.s.mu.Lock()
	if st.importer != nil {
		st.s.mu.Unlock()
		return nil, fmt.Errorf("group %d: an import is going on", st.group)
	}
	st.importer = im
	st.s.mu.Unlock()
	if err := im.open(h); err != nil {
		im.end()
		return nil, fmt.Errorf("import of group %d: %w", st.group, err)
	}
	return im, nil
}

func (im *Import) open(h Header) error {
	fs := im.st.s.fs
	p, err := readProgress(fs, im.dir)
	if err == nil && p.header == h {
		im.progress, im.at = p, p.at
		return im.removeTablesFrom(p.tables)
	}
	if err := fs.RemoveAll(im.dir); err != nil && !isNotExist(err) {
		return err
	}
	if err := im.st.s.makeDirectory(im.dir); err != nil {
		return err
	}
	im.progress = progress{header: h}
	return im.progress.write(fs, im.dir)
}

// removeTablesFrom removes what was begun after the last durable progress.
func (im *Import) removeTablesFrom(n uint32) error {
	fs := im.st.s.fs
	names, err := fs.List(im.dir)
	if err != nil {
		return err
	}
	keep := map[string]bool{progressName: true}
	for i := range n {
		keep[tableName(i)] = true
	}
	for _, name := range names {
		if !keep[name] {
			if err := fs.Remove(fs.PathJoin(im.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Next is the number of the chunk that comes next: 0, or more when staged chunks have survived a crash.
func (im *Import) Next() uint64 { return im.at.number }

// Done says whether the last chunk is staged, perhaps since before a crash: Finish.
func (im *Import) Done() bool { return im.progress.complete }

// Put takes chunk Next. A chunk that is damaged or not the next one is refused with ErrChunk and changes
// nothing; after another error the Import must be closed and begun again. It blocks for the disk. done says
// that this was the last chunk: Finish.
func (im *Import) Put(chunk []byte) (done bool, err error) {
	leave, err := im.st.s.enter()
	if err != nil {
		return false, err
	}
	defer leave()
	switch {
	case im.err != nil:
		return false, im.err
	case im.closed:
		return false, ErrClosed
	case im.progress.complete:
		return false, fmt.Errorf("%w: the last chunk has come already", ErrChunk)
	}
	c, err := openChunk(chunk, im.progress.header, im.at)
	if err != nil {
		return false, err
	}
	next, err := c.verify(im.at)
	if err != nil {
		return false, err
	}
	last := c.last
	if im.err = im.stage(c, next); im.err != nil {
		im.err = fmt.Errorf("import of group %d: %w", im.st.group, im.err)
	}
	return last && im.err == nil, im.err
}

func (im *Import) stage(c *chunkReader, next dumpPosition) error {
	for key, value, ok := c.next(); ok; key, value, ok = c.next() {
		if im.w == nil {
			if err := im.beginTable(tableName(im.progress.tables)); err != nil {
				return err
			}
		}
		if err := im.w.Set(stateKey(im.st.group, stateUser, key), value); err != nil {
			return err
		}
	}
	im.at = next
	if c.last || im.w != nil && int64(im.w.Raw().EstimatedSize()) >= im.table {
		return im.checkpoint(c.last)
	}
	return nil
}

func (im *Import) beginTable(name string) error {
	f, err := im.st.s.fs.Create(im.st.s.fs.PathJoin(im.dir, name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	o := im.st.s.stateOptions()
	o.EnsureDefaults()
	const lowest = 6 // the level where it will be, most likely
	im.w = sstable.NewWriter(objstorageprovider.NewFileWritable(f), o.MakeWriterOptions(lowest, im.st.s.stateDB.TableFormat()))
	return nil
}

// endTable syncs and closes the table that is being written. Its name is synced with the progress file, which
// lies beside it.
func (im *Import) endTable() error {
	w := im.w
	im.w = nil
	return w.Close()
}

// checkpoint makes everything taken so far durable.
func (im *Import) checkpoint(complete bool) error {
	next := im.progress
	if im.w != nil {
		if err := im.endTable(); err != nil {
			return err
		}
		next.tables++
	}
	im.point("import.table")
	next.at, next.complete = im.at, complete
	if err := next.write(im.st.s.fs, im.dir); err != nil {
		return err
	}
	im.progress = next
	im.point("import.progress")
	return nil
}

// Finish replaces the group's state by the import, atomically and durably: its keys, the applied index, the
// snapshot record r (r.Index <= Header.Index) and the mark of Restored. No commit may run meanwhile; Snapshots,
// Exports and Iters of the group must be closed, and whatever was read before is stale after. It blocks for
// the disk. The Import is closed, unless an error is returned.
func (im *Import) Finish(ctx context.Context, r SnapshotRecord) error {
	leave, err := im.st.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	h := im.progress.header
	switch {
	case im.err != nil:
		return im.err
	case im.closed:
		return ErrClosed
	case !im.progress.complete:
		return fmt.Errorf("import of group %d: chunk %d has not come", im.st.group, im.at.number)
	case r.Index > h.Index:
		return fmt.Errorf("import of group %d: snapshot record at %d is above the state at %d", im.st.group, r.Index, h.Index)
	}
	if err := im.stageMeta(r); err != nil {
		im.err = fmt.Errorf("import of group %d: %w", im.st.group, err)
		return im.err
	}
	paths := []string{im.path(metaName)}
	for i := range im.progress.tables {
		paths = append(paths, im.path(tableName(i)))
	}
	if err := im.st.replace(ctx, paths, h.Index, &Restored{ID: h.ID, Index: h.Index}); err != nil {
		return err
	}
	im.point("import.replaced")
	im.st.s.metrics.restores.Inc()
	if err := im.st.s.fs.RemoveAll(im.dir); err != nil {
		im.st.s.cfg.Logger.Warn("staged files of an import are left behind", "dir", im.dir, reason(err))
	}
	im.point("import.cleaned")
	im.end()
	return nil
}

// stageMeta writes the table of what storage keeps beside the keys. It is part of the ingestion, so that the
// keys are never there without it.
func (im *Import) stageMeta(r SnapshotRecord) error {
	h := im.progress.header
	if err := im.beginTable(metaName); err != nil {
		return err
	}
	group := im.st.group
	err := errors.Join( // in the order of their names
		im.w.Set(metaKey(group, metaApplied), fixed(h.Index)),
		im.w.Set(metaKey(group, metaRecord), r.encode()),
		im.w.Set(metaKey(group, metaRestored), Restored{ID: h.ID, Index: h.Index}.encode()),
	)
	return errors.Join(err, im.endTable())
}

// replace puts tables in the place of everything that the group has, in one change of the database's manifest.
func (st *State) replace(ctx context.Context, tables []string, applied uint64, restored *Restored) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	// The marks must never speak of a state that is no longer there.
	st.markCap.Store(applied)
	st.s.fail("marks cannot be kept", st.s.updateMarks())
	disk.Point(st.s.cfg.FS, "import.before")
	lower, upper := stateSpan(st.group)
	span := pebble.KeyRange{Start: lower, End: upper}
	var err error
	if len(tables) > 0 {
		_, err = st.s.stateDB.IngestAndExcise(context.WithoutCancel(ctx), tables, nil, nil, span)
	} else {
		err = st.s.stateDB.Excise(context.WithoutCancel(ctx), span)
	}
	st.s.fail("state cannot be replaced", err)
	disk.Point(st.s.cfg.FS, "import.ingested")
	m, err := st.durableMeta()
	if err == nil && (m.applied != applied || m.hasRestored != (restored != nil)) {
		err = fmt.Errorf("state of group %d: replaced up to %d, but %d is durable", st.group, applied, m.applied)
	}
	st.s.fail("state cannot be replaced", err)
	st.applied.Store(applied)
	st.restored.Store(restored)
	st.markCap.Store(^uint64(0))
	st.s.dirty.Store(true)
	return nil
}

// Clear removes everything that the group has, keys, applied index, snapshot record and mark of Restored,
// atomically and durably. The rules of Finish apply.
func (st *State) Clear(ctx context.Context) error {
	leave, err := st.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	return st.replace(ctx, nil, 0, nil)
}

// Close leaves the staged part for a later Import of the same export. A second Close returns nil.
func (im *Import) Close() error {
	if im.closed {
		return nil
	}
	defer im.end()
	leave, err := im.st.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	if im.w == nil {
		return nil
	}
	if im.err != nil {
		return im.endTable() // it is not in the progress, so it will be removed
	}
	return im.checkpoint(im.progress.complete)
}

// Abort closes the Import and removes the staged part.
func (im *Import) Abort() error {
	if im.closed {
		return nil
	}
	defer im.end()
	leave, err := im.st.s.enter()
	if err != nil {
		return err
	}
	defer leave()
	if im.w != nil {
		err = im.endTable()
	}
	return errors.Join(err, im.st.s.fs.RemoveAll(im.dir))
}

func (im *Import) end() {
	im.closed = true
	im.st.s.mu.Lock()
	im.st.importer = nil
	im.st.s.mu.Unlock()
}

func (im *Import) path(name string) string { return im.st.s.fs.PathJoin(im.dir, name) }
func (im *Import) point(name string)       { disk.Point(im.st.s.cfg.FS, name) }
