package raft

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/posthouse/posthouse/storage"
)

// journalGroup is the log in which a node keeps its membership; user groups are below firstReserved.
const (
	journalGroup  = 0xFFFFFFFF
	firstReserved = 0xFFFFFF00
)

// record is all that a node remembers of its place in the cluster. The journal's last entry is the current one.
type record struct {
	Version    int
	Membership membership
	// Seen is the newest opening of each replica's directory that this node has met: one that comes with an older epoch
	// is a copy, and has forgotten what it acknowledged since.
	Seen map[string]opening `json:",omitempty"`
	// Member is, by group, the index of the latest committed configuration that had this replica as a member. A directory that
	// comes back after its removal knows by it that it was one, before Raft has told it anything.
	Member map[uint32]tenure `json:",omitempty"`
	// Gone are the groups that have removed this replica, with the message for the operator.
	Gone map[uint32]string `json:",omitempty"`
	// Reseeded are the groups whose damaged log was given up, with the applied index of then: their state may be ahead of
	// their log.
	Reseeded map[uint32]uint64 `json:",omitempty"`
}

const journalVersion = 1

// tenure is the latest configuration known to have had a replica (a server id) as a member.
type tenure struct {
	Replica string
	Index   uint64
}

// journal keeps the record, synced, as entries of a log of its own: the log database is the one that is synced.
type journal struct {
	log *storage.Log
	rec record
}

func openJournal(log *storage.Log) (*journal, error) {
	j := &journal{log: log, rec: record{Version: journalVersion}}
	if err := log.Damage(); err != nil {
		return nil, damagedJournal(err)
	}
	last := log.Last()
	if last == 0 {
		return j, nil
	}
	e, err := log.Entry(last)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if err := json.Unmarshal(e.Data, &j.rec); err != nil {
		return nil, fmt.Errorf("%w: journal: %w", ErrContradiction, err)
	}
	if j.rec.Version != journalVersion {
		return nil, fmt.Errorf("%w: journal has version %d, this program knows %d", ErrContradiction, j.rec.Version, journalVersion)
	}
	return j, nil
}

// damagedJournal says of a journal that has lost its end what an operator can do: what this replica has promised and met is
// forgotten, and nobody can tell it again.
func damagedJournal(err error) error {
	var d *storage.DamagedError
	if !errors.As(err, &d) {
		return err
	}
	return &storage.CorruptError{
		Path: d.Path,
		Err:  fmt.Errorf("the journal of this node's membership was synced up to entry %d and now ends at entry %d", d.MarkIndex, d.LastIndex),
		Remedy: "move the whole data directory away and start again: the node comes back as a new replica and is filled by the others " +
			"(a node that is alone needs a copy of its data directory)",
	}
}

// update changes the record and returns when that is synced. One goroutine at a time.
func (j *journal) update(change func(r *record)) error {
	next := j.rec.clone()
	change(&next)
	b, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode journal: %w", err)
	}
	index := j.log.Last() + 1
	if err := j.log.Append([]storage.Entry{{Index: index, Term: 1, Data: b}}); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	j.rec = next
	if err := j.log.TruncateBefore(index); err != nil {
		return fmt.Errorf("truncate journal: %w", err)
	}
	return nil
}

func (r record) clone() record {
	c := r
	c.Membership.Initial = append([]string(nil), r.Membership.Initial...)
	c.Seen, c.Member, c.Gone, c.Reseeded = cloneMap(r.Seen), cloneMap(r.Member), cloneMap(r.Gone), cloneMap(r.Reseeded)
	return c
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}
