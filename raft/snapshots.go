package raft

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	hraft "github.com/hashicorp/raft"
	"github.com/posthouse/posthouse/storage"
)

// snapshotStore is what hashicorp/raft believes to be its snapshots. There is one, and it has no body: the state
// database is the snapshot, and a record in it says up to which index the log may be cut. With NoSnapshotRestoreOnStart
// Raft believes the listed index blindly, so only a record that would survive a power loss now is listed; storage keeps
// it in the same database as the state, so it never claims more than the state holds.
//
// A snapshot that is installed has no body either: the shard travels beside Raft (transfer.go) before the RPC is sent,
// so that Raft's main goroutine never reads from the network. The RPC's header is the ticket.
type snapshotStore struct {
	state  *storage.State
	ctx    context.Context          // of the open group; ends waits for the disk at Close
	wrote  func(index, term uint64) // called when a record of our own is durable
	recmu  sync.Mutex               // a record taken here and one that is installed do not cross
	mu     sync.Mutex
	ticket *hraft.SnapshotMeta // accepted from the leader and not yet restored
}

var _ hraft.SnapshotStore = (*snapshotStore)(nil)

const (
	recordVersion = 1
	snapshotID    = "state"  // the one that is listed
	ticketID      = "ticket" // the one that is being installed
)

var (
	errSuperseded = errors.New("a newer snapshot has been installed")
	errNoBody     = errors.New("this snapshot has no body")
)

// List returns the durable record. Its bytes are 0, so that nothing follows the RPC.
func (s *snapshotStore) List() ([]*hraft.SnapshotMeta, error) {
	r, err := s.state.SnapshotRecord()
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read snapshot record: %w", err)
	}
	m, err := parseRecord(r)
	if err != nil {
		return nil, err
	}
	return []*hraft.SnapshotMeta{m}, nil
}

func (s *snapshotStore) Open(id string) (*hraft.SnapshotMeta, io.ReadCloser, error) {
	if id == ticketID {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ticket == nil {
			return nil, nil, storage.ErrNotFound
		}
		return s.ticket, io.NopCloser(bytes.NewReader(nil)), nil
	}
	l, err := s.List()
	if err != nil {
		return nil, nil, err
	}
	if len(l) == 0 {
		return nil, nil, storage.ErrNotFound
	}
	return l[0], io.NopCloser(bytes.NewReader(nil)), nil
}

// Create begins either a record of our own, which the state machine's Persist writes, or the taking of a ticket.
func (s *snapshotStore) Create(version hraft.SnapshotVersion, index, term uint64, c hraft.Configuration, ci uint64, _ hraft.Transport) (hraft.SnapshotSink, error) {
	return &snapshotSink{in: s, meta: hraft.SnapshotMeta{
		Version: version, ID: ticketID, Index: index, Term: term, Configuration: c, ConfigurationIndex: ci,
	}}, nil
}

// takeTicket returns the ticket that was accepted last and forgets it.
func (s *snapshotStore) takeTicket() *hraft.SnapshotMeta {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.ticket
	s.ticket = nil
	return t
}

type snapshotSink struct {
	in        *snapshotStore
	meta      hraft.SnapshotMeta
	persisted bool
}

func (k *snapshotSink) ID() string                { return k.meta.ID }
func (k *snapshotSink) Write([]byte) (int, error) { return 0, errNoBody }
func (k *snapshotSink) Cancel() error             { return nil }

// persist writes our own record; when it returns, the record and all that it claims are on disk. A record older than one
// that was installed meanwhile would take the state's claim back, behind which the log is gone.
func (k *snapshotSink) persist() error {
	k.in.recmu.Lock()
	defer k.in.recmu.Unlock()
	old, err := k.in.state.SnapshotRecord()
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("read snapshot record: %w", err)
	}
	if err == nil && old.Index >= k.meta.Index {
		return errSuperseded
	}
	if err := k.in.state.PutSnapshotRecord(k.in.ctx, makeRecord(&k.meta)); err != nil {
		return fmt.Errorf("write snapshot record: %w", err)
	}
	k.in.wrote(k.meta.Index, k.meta.Term)
	k.meta.ID = snapshotID
	k.persisted = true
	return nil
}

// Close ends a record of ours, or accepts a ticket: from the leader nothing is copied, and Raft restores it next.
func (k *snapshotSink) Close() error {
	if k.persisted {
		return nil
	}
	k.in.mu.Lock()
	defer k.in.mu.Unlock()
	k.in.ticket = &k.meta
	return nil
}

// A record's configuration is: index u64, then hashicorp/raft's own encoding.
func makeRecord(m *hraft.SnapshotMeta) storage.SnapshotRecord {
	c := binary.BigEndian.AppendUint64(nil, m.ConfigurationIndex)
	return storage.SnapshotRecord{Index: m.Index, Term: m.Term, Version: recordVersion, Configuration: append(c, hraft.EncodeConfiguration(m.Configuration)...)}
}

func parseRecord(r storage.SnapshotRecord) (*hraft.SnapshotMeta, error) {
	if r.Version != recordVersion || len(r.Configuration) < 8 {
		return nil, fmt.Errorf("%w: snapshot record at %d has version %d and %d bytes; this program knows version %d",
			ErrContradiction, r.Index, r.Version, len(r.Configuration), recordVersion)
	}
	c, err := decodeConfiguration(r.Configuration[8:])
	if err != nil {
		return nil, fmt.Errorf("%w: snapshot record at %d: %w", ErrContradiction, r.Index, err)
	}
	return &hraft.SnapshotMeta{
		Version: 1, ID: snapshotID, Index: r.Index, Term: r.Term,
		Configuration: c, ConfigurationIndex: binary.BigEndian.Uint64(r.Configuration),
	}, nil
}

// decodeConfiguration is hashicorp/raft's decoder, which panics on bytes that it does not understand.
func decodeConfiguration(b []byte) (c hraft.Configuration, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("configuration: %v", p)
		}
	}()
	return hraft.DecodeConfiguration(b), nil
}
