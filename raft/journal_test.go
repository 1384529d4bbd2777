package raft

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/storagetest"
)

// Of a journal that has lost its end an operator is told where it is, what it is and what to do, not a number of a group.
func TestDamagedJournalNamesThePathAndTheRemedy(t *testing.T) {
	fs := storagetest.New()
	withJournal := func(f func(log *storage.Log)) {
		t.Helper()
		s, err := storage.Open(context.Background(), storagetest.Config(t, fs, "data"))
		if err != nil {
			t.Fatal(err)
		}
		f(s.Log(journalGroup))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	withJournal(func(log *storage.Log) {
		j, err := openJournal(log)
		if err == nil {
			err = j.update(func(r *record) { r.Seen = map[string]opening{"b/1": {Epoch: 7}} })
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	fs.Delete(t, "data/log")
	withJournal(func(log *storage.Log) {
		_, err := openJournal(log)
		if !errors.Is(err, storage.ErrCorrupt) {
			t.Fatalf("a journal that is gone is opened: %v", err)
		}
		for _, word := range []string{"data/log is damaged", "journal of this node's membership", "start again"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q is not in %q", word, err)
			}
		}
		if strings.Contains(err.Error(), "4294967295") {
			t.Error(err)
		}
	})
}
