package storage_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/storagetest"
)

func TestDirectoryHasOneOwner(t *testing.T) {
	for name, fs := range map[string]*storagetest.FS{"memory": storagetest.New(), "disk": storagetest.OnDisk()} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			cfg := storagetest.Config(t, fs, dir)
			s := open(t, cfg)
			if _, err := storage.Open(t.Context(), cfg); !errors.Is(err, storage.ErrLocked) {
				t.Fatalf("opened twice: %v", err)
			}
			must(t, s.Close())
			must(t, s.Close()) // a second time
			for what, change := range map[string]func(*storage.Config){
				"node":    func(c *storage.Config) { c.Node = "other" },
				"cluster": func(c *storage.Config) { c.Cluster = "other" },
			} {
				foreign := cfg
				change(&foreign)
				if _, err := storage.Open(t.Context(), foreign); !errors.Is(err, storage.ErrIdentity) {
					t.Errorf("another %s: %v", what, err)
				}
			}
			s = open(t, cfg) // refusing has let go of the lock
			must(t, s.Close())
		})
	}
}

func TestEmptyDirectoryIsANewReplica(t *testing.T) {
	a, b := storagetest.New(), storagetest.New()
	one := open(t, storagetest.Config(t, a, "data"))
	two := open(t, storagetest.Config(t, b, "data"))
	if one.Identity().Replica == two.Identity().Replica || one.Identity().Epoch != 1 {
		t.Fatalf("%+v %+v", one.Identity(), two.Identity())
	}
	// A directory that comes back from a copy has an epoch that was seen before.
	copied := a.Crash(0, 0)
	for want := uint64(2); want < 4; want++ {
		must(t, one.Close())
		one = open(t, storagetest.Config(t, a, "data"))
		if one.Identity().Epoch != want {
			t.Fatalf("%+v", one.Identity())
		}
	}
	back := open(t, storagetest.Config(t, copied, "data"))
	if back.Identity().Epoch >= one.Identity().Epoch || back.Identity().Replica != one.Identity().Replica {
		t.Fatalf("%+v after %+v", back.Identity(), one.Identity())
	}
	for _, s := range []*storage.Store{one, two, back} {
		must(t, s.Close())
	}
}

// The power fails while a directory is made: the next Open makes it, and nothing is refused.
func TestCreationSurvivesAPowerLoss(t *testing.T) {
	for _, point := range []string{"create.log", "create.state", "create.complete"} {
		for _, percent := range []int{0, 40, 90} {
			for seed := range uint64(4) {
				fs := storagetest.New()
				crashed := fs.CrashAt(point, 0, percent, seed)
				must(t, open(t, storagetest.Config(t, fs, "a/data")).Close())
				after := <-crashed
				s := open(t, storagetest.Config(t, after, "a/data"))
				must(t, s.Log(1).Append(entry(1)))
				after = after.Crash(0, 0)
				must(t, s.Close())
				s = open(t, storagetest.Config(t, after, "a/data"))
				if s.Log(1).Last() != 1 {
					t.Errorf("%s %d%% seed %d: the first entry is gone", point, percent, seed)
				}
				must(t, s.Close())
			}
		}
	}
}

// Databases whose identity is missing are somebody's: nothing is made anew over them.
func TestLostIdentityIsNotMadeAnew(t *testing.T) {
	fs := storagetest.New()
	filled(t, fs, "data")
	before := len(fs.Files(t, "data", storagetest.LogTable))
	fs.Delete(t, "data/identity")
	_, err := storage.Open(t.Context(), storagetest.Config(t, fs, "data"))
	var corrupt *storage.CorruptError
	if !errors.As(err, &corrupt) || corrupt.Path != "data/identity" {
		t.Fatal(err)
	}
	if n := len(fs.Files(t, "data", storagetest.LogTable)); n != before {
		t.Fatalf("%d tables are left of %d", n, before)
	}
}

// A database of a newer program is refused, and nobody is told to move it away.
func TestNewerFormatIsRefused(t *testing.T) {
	fs := storagetest.New()
	must(t, open(t, storagetest.Config(t, fs, "data")).Close())
	for _, path := range fs.Files(t, "data", storagetest.Manifest) {
		if strings.Contains(path, "/log/marker.format-version.") {
			fs.Replace(t, filepath.Dir(path)+"/marker.format-version.000999.999", nil)
		}
	}
	_, err := storage.Open(t.Context(), storagetest.Config(t, fs, "data"))
	if err == nil || !strings.Contains(err.Error(), "newer program") || errors.Is(err, storage.ErrCorrupt) {
		t.Fatal(err)
	}
}

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	err := storage.Config{LogMemory: 5, StateMemory: 5, Cache: -1, EntryCache: -1, FullSpace: 3 << 30, MarkInterval: -1}.Validate()
	if err == nil {
		t.Fatal("valid")
	}
	for _, field := range []string{"Dir", "Cluster", "Node", "Fatal", "LogMemory", "StateMemory", "Cache", "EntryCache", "LowSpace", "interval"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q says nothing of %s", err, field)
		}
	}
	if _, err := storage.Open(t.Context(), storage.Config{}); err == nil {
		t.Error("opened with an empty Config")
	}
	must(t, storage.Config{Dir: "d", Cluster: "c", Node: "n", Fatal: func(string, error) {}}.Validate())
}

func TestMemoryBudgetFollowsTheConfig(t *testing.T) {
	cfg := storagetest.Config(t, storagetest.New(), "data")
	s := open(t, cfg)
	defer func() { must(t, s.Close()) }()
	if got, least := s.MemoryBudget(), 2*cfg.LogMemory+4*cfg.StateMemory+cfg.Cache; got < least || got > 2*least {
		t.Fatalf("budget %d, memtables and cache %d", got, least)
	}
}

// One row of each class of file on a real disk, so that the names in use are the names that faults go by.
func TestAllFilesHaveAClass(t *testing.T) {
	fs := storagetest.OnDisk()
	dir := filepath.Join(t.TempDir(), "data")
	cfg := storagetest.Config(t, fs, dir)
	cfg.Reserve = 1 << 20
	s := open(t, cfg)
	old(t, s, 1)
	must(t, s.Log(1).Append(entry(1)))
	until(t, "the reserve is made", func() bool { return s.Space().Reserve > 0 })
	must(t, s.Close())
	for _, class := range []storagetest.Class{storagetest.LogWAL, storagetest.StateTable, storagetest.Manifest, storagetest.Small, storagetest.Ballast} {
		if len(fs.Files(t, dir, class)) == 0 {
			t.Errorf("no file of class %s", class)
		}
	}
	for _, path := range fs.Files(t, dir, storagetest.Other) {
		if base := filepath.Base(path); base != "LOCK" && base != "log" && base != "state" {
			t.Errorf("%s has no class", path)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "identity")); err != nil {
		t.Error(err)
	}
	if sp := fmt.Sprint(storage.SpaceOK, storage.SpaceLow, storage.SpaceFull, storage.SpaceLevel(9)); sp != "ok low full unknown" {
		t.Error(sp)
	}
}
