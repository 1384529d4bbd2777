package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/storage"
)

// Keys of the machine's state: 'c' the count and the chain's hash; 'e' and an index: what was applied there.
var chainKey = []byte("c")

func entryKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte("e"), index)
}

// Machine is a state machine that remembers what it was given: per entry its term, time and bytes, and a hash chained over
// all of them, so that two states are equal only if the same commands were applied in the same order.
type Machine struct {
	state *storage.State
	fail  func(format string, args ...any)
	// Hook, if set before the group is opened, is called in each Apply.
	Hook func(e raft.Entry)

	mu      sync.Mutex
	count   uint64
	chain   [sha256.Size]byte
	clock   int64
	applied uint64
	loads   int
}

// NewMachine returns a machine over a group's state. fail is told what must never happen.
func NewMachine(state *storage.State, fail func(format string, args ...any)) *Machine {
	return &Machine{state: state, fail: fail}
}

// Apply implements raft.StateMachine. The result is the count of commands so far.
func (m *Machine) Apply(b *storage.Batch, e raft.Entry) any {
	if m.Hook != nil {
		m.Hook(e)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.Time < m.clock {
		m.fail("entry %d: time runs backwards: %d after %d", e.Index, e.Time, m.clock)
	}
	if e.Index <= m.applied {
		m.fail("entry %d applied after %d", e.Index, m.applied)
	}
	m.count++
	m.clock = e.Time
	h := sha256.New()
	h.Write(m.chain[:])
	h.Write(binary.BigEndian.AppendUint64(nil, e.Index))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(e.Time)))
	h.Write(e.Data)
	h.Sum(m.chain[:0])
	v := binary.BigEndian.AppendUint64(nil, e.Term)
	v = binary.BigEndian.AppendUint64(v, uint64(e.Time))
	b.Set(entryKey(e.Index), append(v, e.Data...))
	b.Set(chainKey, m.record())
	return m.count
}

func (m *Machine) record() []byte {
	v := binary.BigEndian.AppendUint64(nil, m.count)
	v = binary.BigEndian.AppendUint64(v, uint64(m.clock))
	return append(v, m.chain[:]...)
}

// Applied implements raft.StateMachine.
func (m *Machine) Applied(index uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if index <= m.applied {
		m.fail("applied runs backwards: %d after %d", index, m.applied)
	}
	m.applied = index
}

// Restore implements raft.StateMachine: memory is read again, and must be what was written.
func (m *Machine) Restore() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loads++
	m.count, m.clock, m.chain = 0, 0, [sha256.Size]byte{}
	m.applied = m.state.Applied()
	v, err := m.state.Get(chainKey)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(v) != 16+sha256.Size {
		return fmt.Errorf("chain record of %d bytes", len(v))
	}
	m.count = binary.BigEndian.Uint64(v)
	m.clock = int64(binary.BigEndian.Uint64(v[8:]))
	copy(m.chain[:], v[16:])
	return nil
}

// Count is the number of commands applied, Loads how often the state was read anew.
func (m *Machine) Count() uint64 { m.mu.Lock(); defer m.mu.Unlock(); return m.count }

// Loads is how often Restore was called.
func (m *Machine) Loads() int { m.mu.Lock(); defer m.mu.Unlock(); return m.loads }

// Clock is the time of the last command applied.
func (m *Machine) Clock() int64 { m.mu.Lock(); defer m.mu.Unlock(); return m.clock }
