package meta

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// randomOp makes an operation that may or may not fit.
func randomOp(rnd *rand.Rand, m *Machine) op {
	id := func() uint64 {
		if ids := slices.Sorted(maps.Keys(m.subs)); len(ids) > 0 && rnd.IntN(20) > 0 {
			return ids[rnd.IntN(len(ids))]
		}
		return SubscriptionID(uint64(rnd.IntN(50)), 0)
	}
	holder := Holder{fmt.Sprintf("r%d", rnd.IntN(4)), uint64(rnd.IntN(2))}
	address := fmt.Sprintf("a%d", rnd.IntN(6))
	limits := peer.Limits{MaxMessages: uint64(1 + rnd.IntN(3))}
	switch rnd.IntN(20) {
	case 0, 1, 2:
		c := creation(fmt.Sprintf("s%d", rnd.IntN(12)), address)
		if has, _ := m.find(c.identity); has != nil && rnd.IntN(3) > 0 {
			c.replaces = has.ID
		}
		c.terminus = peer.Terminus{ExpiryPolicy: []string{"never", "link-detach", ""}[rnd.IntN(3)], Timeout: uint32(rnd.IntN(10))}
		return c
	case 3, 4:
		return &capture{id(), uint64(rnd.IntN(1000))}
	case 5, 6:
		return &activate{id()}
	case 7:
		return &attach{id: id(), holder: holder, terminus: peer.Terminus{ExpiryPolicy: "link-detach", Timeout: 3}}
	case 8:
		return &leave{id: id(), gen: uint64(rnd.IntN(3)), event: Event(1 + rnd.IntN(3))}
	case 9:
		return &setLimits{id: id(), asked: limits, named: limits, limits: limits}
	case 10:
		return &limitsKept{id(), uint64(rnd.IntN(1000))}
	case 11:
		return &expire{id()}
	case 12:
		return &remove{id: id(), gen: uint64(rnd.IntN(2)), reason: "random"}
	case 13, 14:
		return &uncapture{id()}
	case 15:
		return &deleteSub{id()}
	case 16:
		return &register{holder}
	case 17:
		if rnd.IntN(3) == 0 {
			return &forget{holder}
		}
		return &lost{holder}
	case 18:
		return &heard{id(), peer.Missed{AtMost: uint64(rnd.IntN(9)), Unknown: uint64(rnd.IntN(3))}}
	}
	return &isolated{holder: holder, period: uint64(rnd.IntN(9)), counts: []peer.IsolatedAddress{{Address: address, Messages: 2}}, other: 1}
}

// Whatever comes: the invariants hold after each entry (testLog checks them), what is written is what is in memory, a
// second replica is equal, and whoever follows the changes of captures has the captures.
func TestRandomCommands(t *testing.T) {
	for s := range uint64(8) {
		t.Run(fmt.Sprint("seed ", s), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(s, 1))
			l, twin := newLog(t), newLog(t)
			follower := map[string]bool{}
			var at uint64
			for range 600 {
				ops := make([]op, 1+rnd.IntN(4))
				for i := range ops {
					ops[i] = randomOp(rnd, l.m)
				}
				l.entry(ops...)
				twin.entry(ops...)
				if rnd.IntN(3) == 0 {
					at = follow(t, l.m, follower, at)
				}
				if rnd.IntN(50) == 0 {
					// The replica starts again: what was remembered of changes is gone, and nobody must miss one.
					if err := l.m.Restore(); err != nil {
						t.Fatal(err)
					}
					if err := l.m.Check(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got, want := dump(t, twin.m), dump(t, l.m); got != want {
				t.Errorf("two replicas differ:\n%s\n%s", got, want)
			}
			if got, want := dump(t, l.restored()), dump(t, l.m); got != want {
				t.Errorf("restored:\n%s\nwant:\n%s", got, want)
			}
			counts := l.m.Counts()
			if counts[Creating] == 0 || counts[Active] == 0 || counts[Removing] == 0 {
				t.Errorf("nothing much has happened: %v", counts)
			}
		})
	}
}

// follow brings a router's set of captures to the present, as a router does.
func follow(t *testing.T, m *Machine, set map[string]bool, at uint64) uint64 {
	t.Helper()
	d := m.since(at)
	if d.full {
		clear(set)
	}
	for _, a := range d.add {
		set[a] = true
	}
	for _, a := range d.del {
		if !set[a] && !d.full {
			continue // it came and went
		}
		delete(set, a)
	}
	want := map[string]bool{}
	for _, c := range m.Captures() {
		want[c.Address] = true
	}
	if !maps.Equal(set, want) {
		t.Fatalf("who was at epoch %d has %v, want %v", at, set, want)
	}
	return d.epoch
}

func TestTooManyChangesMeanTheWholeSet(t *testing.T) {
	l := newLog(t)
	at := l.m.Epoch()
	for i := range maxChanges + 10 {
		l.m.changes = append(l.m.changes, captureChange{epoch: at, address: fmt.Sprint(i)})
	}
	l.active("orders", "a") // trims
	if d := l.m.since(at - 1); !d.full || len(d.add) != 1 {
		t.Errorf("%+v", d)
	}
	if d := l.m.since(l.m.Epoch()); d.full || len(d.add) != 0 {
		t.Errorf("%+v", d)
	}
	if len(l.m.changes) > maxChanges {
		t.Error("changes are remembered without bound")
	}
}
