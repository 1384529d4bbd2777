package meta

import (
	"cmp"
	"maps"
	"slices"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// Result is what Apply tells the proposer of a command.
type Result struct {
	Index    uint64
	Time     int64
	Epoch    uint64 // after the command
	Outcomes []Outcome
	Err      error // nothing was applied: the bytes make no sense
}

// Fit says whether an operation did what it says.
type Fit uint8

const (
	Done    Fit = iota // it did, or it had been done before
	Missing            // there is no such subscription, or it is not in the state for it
	Taken              // the names belong to Outcome.ID already
	Late               // a newer link, period or entry has come before
	Early              // its time has not come
)

// Outcome is what became of one operation.
type Outcome struct {
	Fit    Fit
	ID     uint64 // create: the new subscription, or whose the names are
	Gen    uint64 // attach: the new generation
	Before Holder // attach: who had the link, if there still was one
}

// application is one command being applied. It gathers which records have changed, so that each is written once.
type application struct {
	*Machine
	index uint64
	time  int64
	made  int // subscriptions made by this entry so far

	headerChanged, policyChanged, slotsChanged bool

	changedSubs     map[uint64]struct{}
	changedCaptures map[string]struct{}
	changedRouters  map[Holder]struct{}
}

// change takes a subscription out of all indexes, has it changed and enters it again. What is Active was handed out, so a copy
// takes its place.
func (a *application) change(id uint64, fn func(s *Subscription)) {
	s := *a.subs[id]
	a.unindex(a.subs[id])
	fn(&s)
	a.subs[id] = &s
	a.Machine.index(&s)
	a.touch(id)
}

func (a *application) touch(id uint64) {
	if a.changedSubs == nil {
		a.changedSubs = map[uint64]struct{}{}
	}
	a.changedSubs[id] = struct{}{}
}

func (a *application) touchRouter(h Holder) {
	if a.changedRouters == nil {
		a.changedRouters = map[Holder]struct{}{}
	}
	a.changedRouters[h] = struct{}{}
}

// newEpoch makes this entry the epoch.
func (a *application) newEpoch() {
	a.header.epoch = a.index
	a.headerChanged = true
}

// noteCapture writes down that the capture of an address has appeared or vanished.
func (a *application) noteCapture(address string) {
	a.newEpoch()
	if a.changedCaptures == nil {
		a.changedCaptures = map[string]struct{}{}
	}
	a.changedCaptures[address] = struct{}{}
	a.changes = append(a.changes, captureChange{a.index, address})
	if over := len(a.changes) - maxChanges; over > 0 {
		a.forgotten = a.changes[over-1].epoch
		a.changes = slices.Delete(a.changes, 0, over)
	}
}

// write puts what has changed into the batch, in the order of keys.
func (a *application) write(w writer) {
	var k, v []byte
	if a.headerChanged {
		w.Set(storage.AppendMetaKey(nil, storage.MetaHeader), a.header.append(nil))
	}
	if a.policyChanged {
		w.Set(storage.AppendMetaKey(nil, storage.MetaPolicy), appendPolicy(nil, a.rawJSON))
	}
	if a.slotsChanged {
		w.Set(storage.AppendMetaKey(nil, storage.MetaSlots), a.slots.append(nil))
	}
	for _, id := range slices.Sorted(maps.Keys(a.changedSubs)) {
		k = storage.AppendSubscriptionKey(k[:0], id)
		if s := a.subs[id]; s != nil {
			v = s.append(v[:0])
			w.Set(k, v)
		} else {
			w.Delete(k)
		}
	}
	for _, address := range slices.Sorted(maps.Keys(a.changedCaptures)) {
		k = storage.AppendCaptureKey(k[:0], address)
		if c := a.captures[address]; c != nil {
			v = c.append(v[:0])
			w.Set(k, v)
		} else {
			w.Delete(k)
		}
	}
	for _, h := range slices.SortedFunc(maps.Keys(a.changedRouters), compareHolders) {
		k = storage.AppendRouterKey(k[:0], h.Router, h.Boot)
		if r := a.routers[h]; r != nil {
			v = r.append(v[:0])
			w.Set(k, v)
		} else {
			w.Delete(k)
		}
	}
}

func compareHolders(a, b Holder) int {
	return cmp.Or(cmp.Compare(a.Router, b.Router), cmp.Compare(a.Boot, b.Boot))
}

func (o *seed) apply(a *application) Outcome {
	policy, err := peer.ParsePolicy(o.policy)
	if a.header.seeded || err != nil {
		return Outcome{Fit: Late}
	}
	a.header.seeded, a.header.feature = true, o.feature
	a.slots, a.slotsChanged = o.slots, true
	a.setPolicy(policy, o.policy)
	return Outcome{}
}

func (o *setPolicy) apply(a *application) Outcome {
	policy, err := peer.ParsePolicy(o.policy)
	if err != nil {
		return Outcome{Fit: Missing}
	}
	if !samePolicy(a.rawJSON, o.policy) {
		a.setPolicy(policy, o.policy)
	}
	return Outcome{}
}

func (a *application) setPolicy(policy *peer.Policy, raw []byte) {
	a.policy, a.rawJSON, a.policyChanged, a.policyAt = policy, raw, true, a.index
	a.newEpoch()
}

func (o *setFeature) apply(a *application) Outcome {
	if o.level < a.header.feature {
		return Outcome{Fit: Late}
	}
	a.header.feature, a.headerChanged = o.level, true
	return Outcome{}
}
