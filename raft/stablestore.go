package raft

import (
	"errors"
	"fmt"

	hraft "github.com/hashicorp/raft"
	"github.com/posthouse/posthouse/storage"
)

// stableStore is a group's term and vote as hashicorp/raft wants them.
//
// Raft writes a vote as two keys, one after the other; a crash in between leaves the new term with an older candidate,
// whose repeated request is then granted without a look at its log (#661). So the first is only remembered, and both are
// written as one synced record with the second.
type stableStore struct {
	log      *storage.Log
	op       *operation
	voteTerm uint64 // owned by Raft's main goroutine
}

var _ hraft.StableStore = (*stableStore)(nil)

const (
	keyTerm          = "CurrentTerm"
	keyVoteTerm      = "LastVoteTerm"
	keyVoteCandidate = "LastVoteCand"
)

// errStableNotFound is compared by its text in hashicorp/raft; any other text stops it from starting.
var errStableNotFound = errors.New("not found")

func (s *stableStore) SetUint64(key []byte, val uint64) error {
	switch string(key) {
	case keyTerm:
		s.op.begin()
		defer s.op.end()
		return s.log.SetTerm(val)
	case keyVoteTerm:
		s.voteTerm = val
		return nil
	}
	return fmt.Errorf("keep %q: no such key", key)
}

func (s *stableStore) Set(key, val []byte) error {
	if string(key) != keyVoteCandidate {
		return fmt.Errorf("keep %q: no such key", key)
	}
	s.op.begin()
	defer s.op.end()
	return s.log.SetVote(s.voteTerm, string(val))
}

func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	switch string(key) {
	case keyTerm:
		if t := s.log.Term(); t != 0 {
			return t, nil
		}
		return 0, errStableNotFound
	case keyVoteTerm:
		if t, _, ok := s.log.Vote(); ok {
			return t, nil
		}
		return 0, errStableNotFound
	}
	return 0, errStableNotFound
}

func (s *stableStore) Get(key []byte) ([]byte, error) {
	if string(key) == keyVoteCandidate {
		if _, c, ok := s.log.Vote(); ok {
			return []byte(c), nil
		}
	}
	return nil, errStableNotFound
}
