package meta

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// Scanner is what a Machine reads its state from: a *storage.State.
type Scanner interface {
	Scan(lower, upper []byte, fn func(key, value []byte) bool) error
	Applied() uint64
}

// MachineConfig is what a Machine needs.
type MachineConfig struct {
	State  Scanner
	Logger *slog.Logger
	// Fatal ends the process: this replica cannot go on without becoming another than the others. It must not return.
	Fatal func(msg string, err error)
}

// Machine is the state of the meta group, all of it in memory. It implements raft.StateMachine; what else it has may be called
// from any goroutine, blocks at most for the Apply of one command, and sees a command as soon as Apply has returned.
type Machine struct {
	state Scanner
	log   *slog.Logger
	fatal func(string, error)

	seeded  chan struct{} // closed when there is a cluster
	seeding sync.Once

	mu       sync.RWMutex
	header   header
	policy   *peer.Policy
	rawJSON  []byte // the policy as it is kept and sent
	slots    Slots
	subs     map[uint64]*Subscription
	names    map[key]uint64 // who has these names: Creating or Active
	incoming map[key]uint64 // who will have them once it is active (Replaces)
	captures map[string]*Capture
	routers  map[Holder]*Router
	applied  uint64

	// What the leader looks after, so that it need not look through everything.
	unfinished map[uint64]struct{}            // a step is due: not Active, or limits that the shard does not have
	leaving    map[uint64]struct{}            // has no link, and ends some time after
	held       map[Holder]map[uint64]struct{} // subscriptions by Holder
	gapsOf     map[Holder]map[uint64]struct{} // subscriptions made while a router was cut off
	onAddress  map[string]map[uint64]struct{} // active subscriptions by address
	changes    []captureChange                // of captures, oldest first
	forgotten  uint64                         // changes up to and including this epoch are not known any more
	policyAt   uint64                         // epoch of the policy
}

// captureChange says that the capture of an address appeared or vanished at an epoch.
type captureChange struct {
	epoch   uint64
	address string
}

// maxChanges bounds the changes that are remembered. A router that is further behind gets the whole set.
const maxChanges = 1 << 16

var _ raft.StateMachine = (*Machine)(nil)

// NewMachine makes a Machine, which must be Restored first.
func NewMachine(cfg MachineConfig) *Machine {
	m := &Machine{state: cfg.State, log: cfg.Logger, fatal: cfg.Fatal, seeded: make(chan struct{})}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.clear()
	return m
}

func (m *Machine) clear() {
	m.header, m.policy, m.rawJSON, m.slots, m.applied = header{}, new(peer.Policy), nil, Slots{}, 0
	m.subs, m.names, m.incoming = map[uint64]*Subscription{}, map[key]uint64{}, map[key]uint64{}
	m.captures, m.routers = map[string]*Capture{}, map[Holder]*Router{}
	m.unfinished, m.leaving = map[uint64]struct{}{}, map[uint64]struct{}{}
	m.held, m.gapsOf = map[Holder]map[uint64]struct{}{}, map[Holder]map[uint64]struct{}{}
	m.onAddress = map[string]map[uint64]struct{}{}
	m.changes, m.forgotten, m.policyAt = nil, 0, 0
}

// Apply applies one command. The result is a *Result.
func (m *Machine) Apply(b *storage.Batch, e raft.Entry) any {
	return m.apply(b, e.Index, e.Time, e.Data)
}

// writer is the part of a storage.Batch that is used.
type writer interface {
	Set(key, value []byte)
	Delete(key []byte)
}

func (m *Machine) apply(w writer, index uint64, time int64, data []byte) *Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied = index
	ops, err := parseCommand(data)
	if errors.Is(err, errNewer) {
		m.fatal("meta has a command that this version does not know; run the version that the other nodes run", err)
	}
	r := &Result{Index: index, Time: time, Err: err}
	if err != nil {
		m.log.Error("meta left out a command", "index", index, "error", err)
		return r
	}
	a := &application{Machine: m, index: index, time: time}
	for _, o := range ops {
		r.Outcomes = append(r.Outcomes, o.apply(a))
	}
	a.write(w)
	r.Epoch = m.header.epoch
	m.noteSeeded()
	return r
}

// Applied is told by the group; nothing waits for it here.
func (m *Machine) Applied(index uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied = max(m.applied, index)
}

// Restore forgets everything and reads it again.
func (m *Machine) Restore() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
	var bad error
	err := m.state.Scan(nil, nil, func(k, v []byte) bool {
		if k[0] == 0 {
			return true // not ours
		}
		if err := m.restore(k, v); err != nil {
			bad = fmt.Errorf("restore meta: key %q: %w", k, err)
		}
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	m.forgotten, m.applied = m.header.epoch, m.state.Applied()
	for _, s := range m.subs {
		m.index(s)
	}
	m.noteSeeded()
	return nil
}

// Seeded is closed as soon as the state is that of a cluster: policy and slots are there.
func (m *Machine) Seeded() <-chan struct{} { return m.seeded }

func (m *Machine) noteSeeded() {
	if m.header.seeded {
		m.seeding.Do(func() { close(m.seeded) })
	}
}

func (m *Machine) restore(k, v []byte) (err error) {
	mk, ok := storage.ParseMetaKey(k)
	if !ok {
		return errors.New("there is no such kind of key")
	}
	switch mk.Kind {
	case storage.MetaHeader:
		m.header, err = parseHeader(v)
	case storage.MetaPolicy:
		if m.rawJSON, err = parsePolicy(v); err == nil {
			m.policy, err = peer.ParsePolicy(m.rawJSON)
		}
		// A router that comes gets the policy once more, whatever it has confirmed: harmless.
	case storage.MetaSlots:
		m.slots, err = parseSlots(v)
	case storage.MetaSubscription:
		var s *Subscription
		if s, err = parseSubscription(v); err == nil && s.ID != mk.Number {
			err = fmt.Errorf("its record is that of subscription %d", s.ID)
		}
		m.subs[mk.Number] = s
	case storage.MetaCapture:
		m.captures[mk.Text], err = parseCapture(mk.Text, v)
	case storage.MetaRouter:
		var r *Router
		r, err = parseRouter(mk.Text, mk.Number, v)
		m.routers[Holder{Router: mk.Text, Boot: mk.Number}] = r
	}
	return err
}

// index enters a subscription where it is looked for; unindex takes it away again, before it changes. Both are called for
// each change, so that there is one place that knows what belongs where.
func (m *Machine) index(s *Subscription) {
	k := keyOf(s.Identity)
	switch {
	case s.State == Creating && s.Replaces != 0:
		m.incoming[k] = s.ID
	case s.State != Removing:
		m.names[k] = s.ID
	}
	if s.State != Active || s.LimitsKept != s.LimitsVersion {
		m.unfinished[s.ID] = struct{}{}
	}
	if _, ok := s.expiresAt(); ok {
		m.leaving[s.ID] = struct{}{}
	}
	if s.Holder != (Holder{}) && s.State != Removing {
		enter(m.held, s.Holder, s.ID)
	}
	for _, g := range s.Gaps {
		enter(m.gapsOf, g.Holder, s.ID)
	}
	if s.State == Active {
		enter(m.onAddress, s.Address, s.ID)
	}
}

func (m *Machine) unindex(s *Subscription) {
	k := keyOf(s.Identity)
	if m.incoming[k] == s.ID {
		delete(m.incoming, k)
	}
	if m.names[k] == s.ID {
		delete(m.names, k)
	}
	delete(m.unfinished, s.ID)
	delete(m.leaving, s.ID)
	leaveSet(m.held, s.Holder, s.ID)
	for _, g := range s.Gaps {
		leaveSet(m.gapsOf, g.Holder, s.ID)
	}
	leaveSet(m.onAddress, s.Address, s.ID)
}

func enter[K comparable](sets map[K]map[uint64]struct{}, h K, id uint64) {
	if sets[h] == nil {
		sets[h] = map[uint64]struct{}{}
	}
	sets[h][id] = struct{}{}
}

func leaveSet[K comparable](sets map[K]map[uint64]struct{}, h K, id uint64) {
	delete(sets[h], id)
	if len(sets[h]) == 0 {
		delete(sets, h)
	}
}

// samePolicy compares policies as they are kept.
func samePolicy(a, b []byte) bool { return bytes.Equal(a, b) }
