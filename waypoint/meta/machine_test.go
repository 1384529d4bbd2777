package meta

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// memory is a state in memory: what a batch writes, and what a Scanner reads.
type memory struct {
	m       map[string]string
	applied uint64
}

func newMemory() *memory { return &memory{m: map[string]string{}} }

func (s *memory) Set(k, v []byte) { s.m[string(k)] = string(v) }
func (s *memory) Delete(k []byte) { delete(s.m, string(k)) }
func (s *memory) Applied() uint64 { return s.applied }
func (s *memory) Scan(_, _ []byte, fn func(k, v []byte) bool) error {
	for _, k := range slices.Sorted(maps.Keys(s.m)) {
		if !fn([]byte(k), []byte(s.m[k])) {
			break
		}
	}
	return nil
}

// log applies commands to a machine, one entry after the other, a second apart.
type testLog struct {
	t     testing.TB
	m     *Machine
	state *memory
	index uint64
	time  int64
}

func newLog(t testing.TB) *testLog {
	state := newMemory()
	m := NewMachine(MachineConfig{State: state, Fatal: func(msg string, err error) { t.Fatalf("fatal: %s: %v", msg, err) }})
	l := &testLog{t: t, m: m, state: state, time: 1_000_000}
	policy := peer.Policy{}
	l.one(&seed{policy: policyJSON(&policy), slots: Spread(3), feature: 1})
	return l
}

func (l *testLog) entry(ops ...op) []Outcome {
	l.t.Helper()
	data := beginCommand(nil)
	for _, o := range ops {
		data = appendOp(data, o)
	}
	l.index++
	l.time += 1000
	r := l.m.apply(l.state, l.index, l.time, data)
	l.state.applied = l.index
	if r.Err != nil {
		l.t.Fatal(r.Err)
	}
	if err := l.m.Check(); err != nil {
		l.t.Fatalf("after entry %d: %v", l.index, err)
	}
	return r.Outcomes
}

func (l *testLog) one(o op) Outcome {
	l.t.Helper()
	return l.entry(o)[0]
}

func (l *testLog) want(o op, fit Fit) Outcome {
	l.t.Helper()
	out := l.one(o)
	if out.Fit != fit {
		l.t.Fatalf("%T: fit %d, want %d", o, out.Fit, fit)
	}
	return out
}

func (l *testLog) sub(id uint64) *Subscription {
	l.t.Helper()
	s := l.m.sub(id)
	if s == nil {
		l.t.Fatalf("subscription %d is gone", id)
	}
	return s
}

// active makes a subscription in all its steps.
func (l *testLog) active(name, address string) uint64 {
	l.t.Helper()
	id := l.want(creation(name, address), Done).ID
	l.want(&capture{id, l.sub(id).LimitsVersion}, Done)
	l.want(&activate{id}, Done)
	return id
}

func creation(name, address string) *create {
	return &create{identity: peer.Identity{Owner: "anna", Name: name}, address: address, limits: peer.Limits{MaxMessages: 10}, by: "link"}
}

func dump(t testing.TB, m *Machine) string {
	t.Helper()
	var b strings.Builder
	if err := m.Dump(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// restored is a machine that has read what this one has written.
func (l *testLog) restored() *Machine {
	l.t.Helper()
	m := NewMachine(MachineConfig{State: l.state})
	if err := m.Restore(); err != nil {
		l.t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		l.t.Fatalf("restored: %v", err)
	}
	return m
}

func TestTheStepsOfASubscription(t *testing.T) {
	l := newLog(t)
	before := l.m.Epoch()
	id := l.want(creation("orders", "a"), Done).ID
	if id != SubscriptionID(l.index, 0) {
		t.Errorf("id %d, made by entry %d", id, l.index)
	}
	if got := l.m.Epoch(); got != before {
		t.Errorf("creating moved the epoch to %d: nothing is captured yet", got)
	}
	l.want(&activate{id}, Missing) // not before its capture
	l.want(&attach{id: id}, Missing)
	l.want(&capture{id, l.sub(id).LimitsVersion}, Done)
	if s := l.sub(id); s.Epoch != l.index || l.m.Epoch() != l.index {
		t.Errorf("it waits for epoch %d, the epoch is %d, want %d", s.Epoch, l.m.Epoch(), l.index)
	}
	epoch := l.m.Epoch()
	l.want(&capture{id, 0}, Done) // again: nothing
	if c := l.m.Captures(); len(c) != 1 || c[0].Count != 1 || l.m.Epoch() != epoch {
		t.Errorf("captured twice: %+v", c)
	}
	l.want(&activate{id}, Done)
	l.want(&activate{id}, Done)
	if s := l.sub(id); s.State != Active || s.Activated != l.index-1 {
		t.Errorf("%+v", s)
	}
	l.want(&deleteSub{id}, Missing)
	l.want(&remove{id: id, reason: "test"}, Done)
	if _, ok := l.m.Find(peer.Identity{Name: "orders"}); ok {
		t.Error("what is being removed still has its name")
	}
	l.want(&deleteSub{id}, Missing) // not while it is captured
	l.want(&activate{id}, Missing)  // no way back
	l.want(&uncapture{id}, Done)
	if s := l.sub(id); s.Epoch != l.index || s.Captured || len(l.m.Captures()) != 0 {
		t.Errorf("%+v, captures %v", s, l.m.Captures())
	}
	l.want(&uncapture{id}, Done)
	l.want(&deleteSub{id}, Done)
	l.want(&deleteSub{id}, Done)
	if l.m.count() != 0 || len(l.m.unfinished) != 0 || len(l.m.names) != 0 {
		t.Errorf("left over: %v %v", l.m.unfinished, l.m.names)
	}
	if got := l.m.ended([]uint64{id, SubscriptionID(l.index+1, 0)}); !slices.Equal(got, []uint64{id}) {
		t.Errorf("ended: %v: a later entry's may be on its way", got)
	}
}

// A subscription to an address that is captured already needs no epoch that is newer than the capture's first.
func TestACaptureIsCountedAndItsEpochIsWhenItAppeared(t *testing.T) {
	l := newLog(t)
	a := l.active("a", "x")
	appeared := l.m.Epoch()
	l.active("other", "y")
	b := l.want(creation("b", "x"), Done).ID
	l.want(&capture{b, 0}, Done)
	if got := l.sub(b).Epoch; got != appeared {
		t.Errorf("the second waits for epoch %d, want %d", got, appeared)
	}
	epoch := l.m.Epoch()
	l.want(&remove{id: a}, Done)
	l.want(&uncapture{a}, Done)
	if got := l.sub(a).Epoch; got != 0 || l.m.Epoch() != epoch {
		t.Errorf("removing one of two waits for epoch %d, epoch %d", got, l.m.Epoch())
	}
	l.want(&remove{id: b}, Done)
	l.want(&uncapture{b}, Done)
	c := l.want(creation("c", "x"), Done).ID
	l.want(&capture{c, 0}, Done)
	if got := l.sub(c).Epoch; got != l.index {
		t.Errorf("after it had vanished, the capture appeared at %d, want %d", got, l.index)
	}
}

func TestNamesAreUnique(t *testing.T) {
	l := newLog(t)
	id := l.active("orders", "a")
	if out := l.want(creation("orders", "a"), Taken); out.ID != id {
		t.Errorf("taken by %d, want %d", out.ID, id)
	}
	other := creation("orders", "a")
	other.identity.Owner = "bert"
	l.want(other, Taken) // whoever owns it: he is to be refused, not to get another
	link := creation("", "a")
	link.identity.ContainerID, link.identity.LinkName = "orders", ""
	l.want(link, Done) // a link's names are another thing than NAME
	outs := l.entry(creation("p", "a"), creation("p", "a"), creation("q", "a"))
	if outs[0].Fit != Done || outs[1].Fit != Taken || outs[1].ID != outs[0].ID || outs[2].ID != SubscriptionID(l.index, 1) {
		t.Errorf("in one entry: %+v", outs)
	}
}

func TestReplacingEndsTheOldWhenTheNewIsActive(t *testing.T) {
	l := newLog(t)
	old := l.active("orders", "a")
	next := creation("orders", "b")
	next.replaces = old
	id := l.want(next, Done).ID
	if has, coming := l.m.find(next.identity); has.ID != old || coming.ID != id {
		t.Fatalf("%+v %+v", has, coming)
	}
	third := creation("orders", "c")
	third.replaces = old
	if out := l.want(third, Taken); out.ID != id {
		t.Errorf("taken by %d", out.ID)
	}
	l.want(&capture{id, 0}, Done)
	if l.sub(old).State != Active {
		t.Error("the old one ended before the new one was active")
	}
	l.want(&activate{id}, Done)
	if has, coming := l.m.find(next.identity); has.ID != id || coming != nil || l.sub(old).State != Removing {
		t.Errorf("%+v %+v", has, coming)
	}

	// Undone, it leaves the old one as it was.
	back := creation("orders", "a")
	back.replaces = id
	undone := l.want(back, Done).ID
	l.want(&remove{id: undone}, Done)
	if has, coming := l.m.find(next.identity); has == nil || has.ID != id || coming != nil || has.State != Active {
		t.Errorf("%+v %+v", has, coming)
	}
	gone := creation("nobody", "a")
	gone.replaces = 12345
	l.want(gone, Missing)
}

func TestGenerations(t *testing.T) {
	l := newLog(t)
	id := l.active("orders", "a")
	one, two := Holder{"r1", 1}, Holder{"r2", 7}
	if out := l.want(&attach{id: id, holder: one}, Done); out.Gen != 1 || out.Before != (Holder{}) {
		t.Errorf("%+v", out)
	}
	if out := l.want(&attach{id: id, holder: two}, Done); out.Gen != 2 || out.Before != one {
		t.Errorf("%+v", out)
	}
	l.want(&leave{id: id, gen: 1, event: LinkDetached}, Late)
	l.want(&leave{id: id, gen: 2, event: LinkDetached}, Done)
	if out := l.want(&attach{id: id, holder: one}, Done); out.Gen != 3 || out.Before != (Holder{}) {
		t.Errorf("after it had left: %+v", out)
	}
	l.want(&remove{id: id, gen: 2}, Late)
	if l.sub(id).State != Active {
		t.Error("an old link removed a subscription that another had taken over")
	}
	if out := l.want(&remove{id: id, gen: 3}, Done); out.Before != one {
		t.Errorf("%+v", out)
	}
}

func TestExpiry(t *testing.T) {
	for _, c := range []struct {
		policy string
		event  Event
		ends   bool
	}{
		{"never", ConnectionClosed, false},
		{"link-detach", LinkDetached, true},
		{"session-end", LinkDetached, false},
		{"session-end", SessionEnded, true},
		{"", LinkDetached, false}, // 3.5.3: the default is session-end
		{"", ConnectionClosed, true},
		{"connection-close", SessionEnded, false},
		{"connection-close", ConnectionClosed, true},
		{"connection-close", RouterLost, true},
	} {
		t.Run(fmt.Sprintf("%q event %d", c.policy, c.event), func(t *testing.T) {
			l := newLog(t)
			terminus := peer.Terminus{Durable: 1, ExpiryPolicy: c.policy, Timeout: 5}
			new := creation("orders", "a")
			new.terminus = terminus
			id := l.want(new, Done).ID
			l.want(&capture{id, 0}, Done)
			l.want(&activate{id}, Done)
			holder := Holder{"r", 1}
			l.want(&register{holder}, Done)
			l.want(&attach{id: id, holder: holder, terminus: terminus}, Done)
			l.want(&expire{id}, Late) // attached
			if c.event == RouterLost {
				l.want(&lost{holder}, Done)
			} else {
				l.want(&leave{id: id, gen: 1, event: c.event}, Done)
			}
			left := l.time
			if got := l.m.expired(left + 4999); len(got) != 0 {
				t.Errorf("expired a moment early: %v", got)
			}
			if got := l.m.expired(left + 5000); (len(got) == 1) != c.ends {
				t.Fatalf("expired after 5 s: %v, want %v", got, c.ends)
			}
			if !c.ends {
				return
			}
			l.want(&expire{id}, Early) // the entry's clock decides
			l.time = left + 5000
			l.want(&expire{id}, Done)
			if l.sub(id).State != Removing {
				t.Error("it did not go")
			}
		})
	}
}

// The links of a router that is lost are taken as gone, until it is back.
func TestARouterThatComesBackHasItsLinksBack(t *testing.T) {
	l := newLog(t)
	id := l.active("orders", "a")
	h := Holder{"r", 1}
	l.want(&register{h}, Done)
	l.want(&attach{id: id, holder: h, terminus: peer.Terminus{Timeout: 1, ExpiryPolicy: "link-detach"}}, Done)
	l.want(&lost{h}, Done)
	if s := l.sub(id); s.Left != l.time || s.LeftBy != RouterLost {
		t.Errorf("%+v", s)
	}
	l.want(&register{h}, Done)
	if s := l.sub(id); s.Left != 0 {
		t.Errorf("%+v", s)
	}
	l.want(&leave{id: id, gen: 1, event: LinkDetached}, Done)
	l.want(&lost{h}, Done)
	l.want(&register{h}, Done)
	if s := l.sub(id); s.Left == 0 {
		t.Error("a link that had left is back with its router")
	}
	l.want(&forget{h}, Late)
	l.want(&lost{h}, Done)
	l.want(&forget{h}, Done)
	if len(l.m.Routers()) != 0 {
		t.Errorf("%v", l.m.Routers())
	}
}

func TestIsolatedReports(t *testing.T) {
	l := newLog(t)
	h, other := Holder{"r", 1}, Holder{"s", 1}
	l.entry(&register{h}, &register{other})
	l.want(&isolated{holder: Holder{"t", 1}, period: 1}, Missing)
	early := l.active("early", "a")
	l.want(&lost{h}, Done)
	id := l.active("orders", "a")
	elsewhere := l.active("elsewhere", "b")
	if g := l.sub(id).Gaps; len(g) != 1 || g[0].Holder != h || g[0].Known {
		t.Errorf("made while a router is cut off: %+v", g)
	}
	if g := l.sub(early).Gaps; len(g) != 0 {
		t.Errorf("made before: %+v", g)
	}
	l.want(&isolated{holder: h, period: 0}, Late)
	l.want(&isolated{holder: h, period: 1, counts: []peer.IsolatedAddress{{Address: "a", Messages: 10}}}, Done)
	if g := l.sub(id).Gaps; g[0].Known || g[0].AtMost != 10 {
		t.Errorf("a late report, while the router is still cut off: %+v", g)
	}
	l.want(&register{h}, Done)
	report := &isolated{holder: h, period: 2, counts: []peer.IsolatedAddress{{Address: "a", Messages: 5}, {Address: "c", Messages: 2}}, other: 1}
	l.want(report, Done)
	l.want(report, Late) // told again
	if g := l.sub(id).Gaps; !g[0].Known || g[0].AtMost != 16 {
		t.Errorf("%+v", g)
	}
	if g := l.sub(early).Gaps; len(g) != 1 || !g[0].Known || g[0].AtMost != 16 {
		t.Errorf("made before, but on an address that is reported: %+v", g)
	}
	if g := l.sub(elsewhere).Gaps; !g[0].Known || g[0].AtMost != 1 {
		t.Errorf("%+v", g)
	}
	// What was heard stays, and what can't have been heard is not taken for it. Both are there after a restart.
	l.want(&heard{id: id, missed: peer.Missed{AtMost: 10, Unknown: 1}}, Done)
	l.want(&heard{id: id, missed: peer.Missed{AtMost: 4}}, Done)
	l.want(&heard{id: early, missed: peer.Missed{AtMost: 1000}}, Done)
	l.want(&heard{id: 99}, Missing)
	for _, m := range []*Machine{l.m, l.restored()} {
		for id, want := range map[uint64]peer.Missed{id: {AtMost: 10, Unknown: 1}, early: {AtMost: 16}, elsewhere: {}} {
			if s, _ := m.Subscription(id); s.Heard != want {
				t.Errorf("subscription %d has heard %+v, want %+v", id, s.Heard, want)
			}
		}
		if s, _ := m.Subscription(id); s.Missed() != (peer.Missed{AtMost: 16}) {
			t.Errorf("missed: %+v", s.Missed())
		}
		if atMost, unknown := m.missed(); atMost != 33 || unknown != 0 {
			t.Errorf("missed in all: %d, not known for %d", atMost, unknown)
		}
	}
	if messages, reports := l.m.Isolated(); messages != 18 || reports != 2 {
		t.Errorf("%d messages in %d reports", messages, reports)
	}
	if r := l.m.Routers()[0]; r.Messages != 18 || r.Periods != 2 {
		t.Errorf("%+v", r)
	}
}

func TestGapsOfManyRoutersAreAddedUp(t *testing.T) {
	l := newLog(t)
	away := Holder{"away", 1}
	l.want(&register{away}, Done)
	l.want(&lost{away}, Done)
	id := l.active("orders", "a")
	for boot := range uint64(100) {
		h := Holder{"r", boot + 1}
		l.want(&register{h}, Done)
		l.want(&isolated{holder: h, period: 1, counts: []peer.IsolatedAddress{{Address: "a", Messages: 2}}, other: 1000}, Done)
	}
	var sum uint64
	gaps := l.sub(id).Gaps
	for _, g := range gaps {
		sum += g.AtMost
		if g.Known == (g.Holder == away) {
			t.Errorf("%+v", g)
		}
	}
	if sum != 200 || len(gaps) != maxGaps {
		t.Errorf("%d messages in %d gaps", sum, len(gaps))
	}
}

func TestLimitsAreSentUntilTheShardHasThem(t *testing.T) {
	l := newLog(t)
	id := l.want(creation("orders", "a"), Done).ID
	first := l.sub(id).LimitsVersion
	l.want(&setLimits{id: id, limits: peer.Limits{MaxMessages: 5}}, Done) // while the cursor is being started
	l.want(&capture{id, first}, Done)
	l.want(&activate{id}, Done)
	if s := l.sub(id); s.LimitsKept != first || s.LimitsVersion == first || !slices.Contains(l.m.listUnfinished(), id) {
		t.Errorf("the shard has the first limits only, and nobody knows: %+v", s)
	}
	l.want(&limitsKept{id, l.sub(id).LimitsVersion}, Done)
	l.want(&limitsKept{id, first}, Done) // late
	if s := l.sub(id); s.LimitsKept != s.LimitsVersion || len(l.m.listUnfinished()) != 0 {
		t.Errorf("%+v", s)
	}
	l.want(&setLimits{id: id, limits: peer.Limits{MaxMessages: 5}, named: peer.Limits{MaxMessages: 9}}, Done)
	if s := l.sub(id); s.LimitsKept != s.LimitsVersion {
		t.Error("the same limits are sent again")
	}
}

func TestSeedAndPolicy(t *testing.T) {
	l := newLog(t)
	if level, seeded := l.m.Feature(); level != 1 || !seeded {
		t.Errorf("%d %v", level, seeded)
	}
	raw := policyJSON(&peer.Policy{Default: peer.AddressPolicy{AllowReject: true}})
	l.want(&seed{policy: raw, slots: Spread(5)}, Late)
	slots := l.m.Slots()
	if slots.Shard("x") != 1+uint32(peer.Slot("x"))%3 {
		t.Error("a second seed changed the slots")
	}
	epoch := l.m.Epoch()
	l.want(&setPolicy{raw}, Done)
	if p, _ := l.m.Policy(); !p.Default.AllowReject || l.m.Epoch() != l.index {
		t.Error("the policy is not in force, or no epoch says so")
	}
	if d := l.m.since(epoch); d.full || string(d.policy) != string(raw) {
		t.Errorf("who is at the epoch before does not learn it: %+v", d)
	}
	l.want(&setPolicy{raw}, Done)
	if l.m.Epoch() == l.index {
		t.Error("the same policy is a new epoch")
	}
	l.want(&setPolicy{[]byte(`{"default":{"isolated":"perhaps"}}`)}, Missing)
	l.want(&setFeature{3}, Done)
	l.want(&setFeature{2}, Late)
}

func TestRestoreIsWhatWasWritten(t *testing.T) {
	l := newLog(t)
	l.want(&register{Holder{"r", 1}}, Done)
	l.want(&lost{Holder{"r", 1}}, Done)
	l.active("orders", "a")
	l.want(creation("half", "b"), Done)
	ids := []uint64{SubscriptionID(1, 0), SubscriptionID(l.index, 3), SubscriptionID(l.index+1, 0)}
	if got := l.restored().ended(ids); !slices.Equal(got, ids[:2]) {
		t.Errorf("over: %v, want %v", got, ids[:2])
	}
	l.state.Set([]byte{0}, []byte("the group's own"))
	if got, want := dump(t, l.restored()), dump(t, l.m); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	l.state.Set([]byte{'?'}, nil)
	if err := NewMachine(MachineConfig{State: l.state}).Restore(); err == nil {
		t.Error("an unknown key was taken for nothing")
	}
}

func TestANewerCommandStopsTheReplica(t *testing.T) {
	fatal := ""
	m := NewMachine(MachineConfig{State: newMemory(), Fatal: func(msg string, err error) { fatal = msg }})
	m.apply(newMemory(), 1, 1, storage.AppendText([]byte{commandVersion, 200}, "?"))
	if fatal == "" {
		t.Error("an unknown operation was left out")
	}
	fatal = ""
	m.apply(newMemory(), 2, 1, []byte{commandVersion + 1})
	if fatal == "" {
		t.Error("an unknown version was left out")
	}
	fatal = ""
	if r := m.apply(newMemory(), 3, 1, []byte{commandVersion, byte(kindActivate), 9, 1}); r.Err == nil || fatal != "" {
		t.Errorf("garbage: %v, fatal %q", r.Err, fatal)
	}
}
