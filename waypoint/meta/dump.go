package meta

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Dump writes the whole state as text, in an order that depends on nothing but the state: two replicas are equal if and
// only if their dumps are.
func (m *Machine) Dump(w io.Writer) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "header %+v\n", m.header)
	fmt.Fprintf(b, "policy %s\n", m.rawJSON)
	fmt.Fprintf(b, "slots %v\n", m.slots)
	for _, id := range slices.Sorted(maps.Keys(m.subs)) {
		fmt.Fprintf(b, "subscription %+v\n", *m.subs[id])
	}
	for _, address := range slices.Sorted(maps.Keys(m.captures)) {
		fmt.Fprintf(b, "capture %+v\n", *m.captures[address])
	}
	for _, h := range slices.SortedFunc(maps.Keys(m.routers), compareHolders) {
		fmt.Fprintf(b, "router %+v\n", *m.routers[h])
	}
	return b.Flush()
}

// Check verifies what must hold at every index. It is for tests.
func (m *Machine) Check() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	counts := map[string]uint64{}
	owners := map[key]uint64{}
	for _, id := range slices.Sorted(maps.Keys(m.subs)) {
		s := m.subs[id]
		if s.Captured {
			counts[s.Address]++
		}
		if s.State == Active && !s.Captured {
			return fmt.Errorf("subscription %d is active and its address is not captured", id)
		}
		if s.Captured && s.State == Creating && s.Epoch != m.captures[s.Address].Appeared {
			return fmt.Errorf("subscription %d waits for epoch %d, its capture appeared at %d", id, s.Epoch, m.captures[s.Address].Appeared)
		}
		if s.State != Removing && (s.State == Active || s.Replaces == 0) {
			if other := owners[keyOf(s.Identity)]; other != 0 {
				return fmt.Errorf("subscriptions %d and %d have the same names", other, id)
			}
			owners[keyOf(s.Identity)] = id
		}
		if s.LimitsKept > s.LimitsVersion {
			return fmt.Errorf("subscription %d: limits kept are newer than those in force", id)
		}
		if s.Heard.AtMost > s.Missed().AtMost {
			return fmt.Errorf("subscription %d has heard of more than it may have missed", id)
		}
	}
	if !maps.Equal(owners, m.names) {
		return fmt.Errorf("names are %v, by the subscriptions %v", m.names, owners)
	}
	for _, address := range slices.Sorted(maps.Keys(m.captures)) {
		if c := m.captures[address]; c.Count != counts[address] || c.Count == 0 || c.Appeared > m.header.epoch {
			return fmt.Errorf("capture %+v, %d subscriptions, epoch %d", *c, counts[address], m.header.epoch)
		}
		delete(counts, address)
	}
	if len(counts) > 0 {
		return fmt.Errorf("captures are missing: %v", counts)
	}
	if !slices.IsSortedFunc(m.changes, func(a, b captureChange) int { return cmp.Compare(a.epoch, b.epoch) }) {
		return fmt.Errorf("changes of captures are not in order")
	}
	return nil
}
