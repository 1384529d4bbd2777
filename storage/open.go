package storage

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// Open opens the data directory, making and naming it when it is empty. It reads logs that were not flushed,
// and every log once, so it takes a while after a crash. On a full disk it says so to Config.Logger and waits
// until there is space or ctx is done; then it returns the cause, and the directory stays locked until there
// is space or the process ends. It refuses damaged files with a *CorruptError that names the file and the
// remedy, a directory in use with ErrLocked and one of another node with ErrIdentity.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	s := newStore(cfg.withDefaults())
	opened := make(chan error)
	abandoned := make(chan struct{})
	go func() {
		err := s.open()
		if c := s.refused.Load(); c != nil {
			err = c
		}
		if err != nil {
			s.releaseAll()
		}
		select {
		case opened <- err:
		case <-abandoned:
			if err == nil {
				s.cfg.Logger.Info("opening was given up and is done only now: closing", reason(s.Close()))
			}
		}
	}()
	select {
	case err := <-opened:
		if err != nil {
			return nil, fmt.Errorf("open storage: %w", err)
		}
		return s, nil
	case <-s.failed:
		close(abandoned)
		return nil, fmt.Errorf("open storage: %w", s.Err())
	case <-ctx.Done():
		close(abandoned)
		if s.Space().Waiting {
			return nil, fmt.Errorf("open storage: %s: disk is full: %w", cfg.Dir, context.Cause(ctx))
		}
		return nil, fmt.Errorf("open storage: %w", context.Cause(ctx))
	}
}

func newStore(cfg Config) *Store {
	s := &Store{
		cfg:     cfg,
		metrics: newMetrics(),
		failed:  make(chan struct{}),
		stop:    make(chan struct{}),
		slow:    make(chan vfs.DiskSlowInfo, 16),
		logs:    make(map[uint32]*Log),
		states:  make(map[uint32]*State),
		exports: make(map[*Export]struct{}),

		tableBytes:   tableBytes,
		releaseBytes: releaseBytes,
	}
	checked, health := vfs.WithDiskHealthChecks(disk.VFS(cfg.FS), max(cfg.SlowDisk, hangingDisk), nil, s.diskHangs)
	s.health = health
	s.space = newSpace(checked, cfg)
	s.fs = newGuard(checked, s.space, s.synced, func(path string, err error) {
		s.fatal("disk has failed", fmt.Errorf("%s: %w", path, err))
	})
	return s
}

// open does the work of Open. What it has acquired before an error is released by releaseAll.
func (s *Store) open() error {
	s.space.start()
	s.wg.Add(1)
	go s.reportHanging()
	if err := s.lockDirectory(); err != nil {
		return err
	}
	s.space.own()
	if err := s.findIdentity(); err != nil {
		return err
	}
	var err error
	if s.marks, err = openMarks(s.fs, s.cfg.Dir); err != nil {
		return err
	}
	s.cache = pebble.NewCache(s.cfg.Cache)
	if s.logDB, err = s.openChecked(disk.LogDir, remedyLog, s.logOptions); err != nil {
		return err
	}
	if s.stateDB, err = s.openChecked(disk.StateDir, remedyState, s.stateOptions); err != nil {
		return err
	}
	if err := s.loadLogs(); err != nil {
		return err
	}
	if err := s.cleanStaging(); err != nil {
		return err
	}
	s.identity.Epoch++
	if err := s.identity.write(s.fs, s.cfg.Dir); err != nil {
		return err
	}
	if err := s.metrics.register(s.cfg.Registerer, s); err != nil {
		return err
	}
	s.fs.armed.Store(true)
	if c := s.refused.Load(); c != nil {
		return c
	}
	s.dirty.Store(true)
	s.wg.Add(2)
	go s.markLoop()
	go s.exportLoop()
	if s.cfg.ScrubInterval > 0 {
		s.wg.Add(1)
		go s.scrubLoop()
	}
	return nil
}

func (s *Store) lockDirectory() error {
	if err := s.makeDirectory(s.cfg.Dir); err != nil {
		return err
	}
	lock, err := pebble.LockDirectory(s.cfg.Dir, s.fs)
	if err != nil {
		return fmt.Errorf("%w: %s: %v", ErrLocked, s.cfg.Dir, err)
	}
	s.lock = lock
	return nil
}

// makeDirectory makes dir, and syncs the entry of every directory that it made. The entry of dir itself is
// synced even when dir is there: a crash may have come between making and syncing.
func (s *Store) makeDirectory(dir string) error {
	parent := s.fs.PathDir(dir)
	if parent == dir {
		return nil
	}
	if there, err := exists(s.fs, parent); err != nil {
		return err
	} else if !there {
		if err := s.makeDirectory(parent); err != nil {
			return err
		}
	}
	if err := s.fs.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if err := syncDir(s.fs, parent); err != nil && !errors.Is(err, iofs.ErrPermission) {
		return err
	}
	return nil
}

// findIdentity reads who this directory is, or makes it someone. The identity is written first, incomplete,
// and completed when everything else is there: so an identity that is missing beside databases was lost, and
// nothing is ever made anew over them.
func (s *Store) findIdentity() error {
	id, err := readIdentity(s.fs, s.cfg.Dir)
	switch {
	case errors.Is(err, ErrNotFound):
		for _, name := range []string{disk.LogDir, disk.StateDir, disk.Marks} {
			if there, err := exists(s.fs, s.path(name)); err != nil {
				return err
			} else if there {
				return &CorruptError{Path: s.path(disk.Identity), Remedy: remedyNewReplica, Err: errors.New("file is missing")}
			}
		}
		id = newIdentity(s.cfg)
		if err := id.write(s.fs, s.cfg.Dir); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if err := id.matches(s.cfg); err != nil {
		return err
	}
	s.identity = id
	if id.Complete {
		return nil
	}
	return s.create()
}

// create makes everything in a directory whose identity is incomplete. Whatever is there was made by a
// creation that a crash has cut off, and was never used.
func (s *Store) create() error {
	for _, name := range []string{disk.LogDir, disk.StateDir} {
		if err := s.fs.RemoveAll(s.path(name)); err != nil && !isNotExist(err) {
			return err
		}
	}
	s.cache = pebble.NewCache(1 << 20)
	defer func() {
		s.cache.Unref()
		s.cache = nil
	}()
	if err := s.createDatabase(disk.LogDir, s.logOptions()); err != nil {
		return err
	}
	if err := s.createDatabase(disk.StateDir, s.stateOptions()); err != nil {
		return err
	}
	if err := createMarks(s.fs, s.cfg.Dir); err != nil {
		return err
	}
	disk.Point(s.cfg.FS, "create.complete")
	s.identity.Complete = true
	return s.identity.write(s.fs, s.cfg.Dir)
}
