package shard

import (
	"errors"
	"log/slog"
	"sync"

	"github.com/posthouse/posthouse/storage"
)

// Config is what a Machine needs.
type Config struct {
	State  *storage.State
	Logger *slog.Logger // nil: none
	// Fatal ends the process: this replica can't go on without becoming another than the others. It must not
	// return.
	Fatal func(msg string, err error)
}

// Entry is a command as the log hands it on.
type Entry struct {
	Index uint64
	Time  int64 // Unix milliseconds, never below the entry's before
	Data  []byte
}

// Machine is a shard's state. Apply, Applied and Restore are called one at a time by the group; everything else may be
// called from any goroutine, blocks at most for the Apply of one command, and returns copies. Reads of memory see the last
// command as soon as Apply returns; messages are read from storage, and there after Applied.
type Machine struct {
	config Config

	mu       sync.RWMutex // guards what follows; written by the group's goroutine alone, but for ages
	header   storage.HeaderRecord
	index    uint64 // of Applied
	time     int64  // of the last command
	topics   map[string]*topic
	topicIDs map[uint64]*topic
	cursors  map[uint64]*cursor
	lanes    map[uint64]*lane
	owners   map[laneOwner]*lane
	ages     heap
	awake    []*topic // with parked cursors and a message since

	// owned by the group's goroutine
	decoder decoder
	command Command
	intern  func([]byte) string // m.address, bound once
	turn    turn
}

// New returns a Machine that must be Restored before anything else.
func New(config Config) *Machine {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Machine{config: config}
	m.intern = m.address
	m.forget()
	return m
}

func (m *Machine) forget() {
	m.header = storage.HeaderRecord{}
	m.topics = make(map[string]*topic)
	m.topicIDs = make(map[uint64]*topic)
	m.cursors = make(map[uint64]*cursor)
	m.lanes = make(map[uint64]*lane)
	m.owners = make(map[laneOwner]*lane)
	m.ages = heap{order: byAge}
	m.awake = nil
	m.turn = turn{}
}

// Apply applies one command, writing into b alone. It reads nothing but memory, so several commands may share a batch.
func (m *Machine) Apply(b *storage.Batch, e Entry) *Result { return m.apply(b, e) }

// batch is what Apply writes into.
type batch interface {
	Set(key, value []byte)
	Delete(key []byte)
	DeleteRange(lower, upper []byte)
}

func (m *Machine) apply(b batch, e Entry) *Result {
	result := &Result{Index: e.Index, Time: e.Time}
	if err := m.decoder.decode(&m.command, e.Data, m.intern); err != nil {
		if errors.Is(err, ErrNewer) {
			m.config.Fatal("this program is too old for a command that the cluster has agreed on; start the newer one", err)
			panic("shard: Fatal returned")
		}
		// All replicas read the same bytes, so all leave them out.
		m.config.Logger.Error("command left out", "index", e.Index, "error", err)
		result.Err = err
		return result
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.time = e.Time
	m.turn.begin(m, b, result)
	m.turn.run(&m.command)
	m.turn.end()
	m.command.Reset() // the entry's bytes are not to be held
	return result
}

// Applied says that everything up to index is committed.
func (m *Machine) Applied(index uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index = index
}

// address is b as a string, without allocating if it is a topic's.
func (m *Machine) address(b []byte) string {
	if t, ok := m.topics[string(b)]; ok {
		return t.address
	}
	return string(b)
}
