package router

import (
	"testing"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
)

// link gives the only publisher of a router.
func (h *publishers) link() *publisher {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.all {
		return p
	}
	return nil
}

// has waits until the router's only publisher has so much credit, with nothing on its way.
func has(t *testing.T, r *Router, credit uint32) {
	t.Helper()
	eventually(t, "the credit is right", func() bool {
		p := r.publishers.link()
		return p != nil && p.link.Credit() == credit
	})
}

// TestG10PublishersLoseCreditBeforeTheyAreRefused: with little room a publisher's window shrinks as it is used, with none it hears one
// refusal and gets nothing more, and with room again it has what it had.
func TestG10PublishersLoseCreditBeforeTheyAreRefused(t *testing.T) {
	kept := Admission{Kind: Captured}
	full := Admission{Kind: Refuse, Err: amqp.Errorf(amqp.ErrCondResourceLimitExceeded, "disk")}
	store := &fakeStore{admission: kept, answer: func(p Publish) { p.Receipt.Answered(Answer{Kind: Kept}) }}
	r := start(t, func(c *Config) { c.Store, c.LinkCredit = store, 128 })[0]
	s := sender(t, r, "a", nil)
	has(t, r, 128)
	wantKept := func() {
		t.Helper()
		if _, ok := send(t, s, "x").(*goamqp.StateAccepted); !ok {
			t.Fatal("not accepted")
		}
	}
	wide := func(level PressureLevel, reason string, a Admission, share uint32) {
		store.press(level, reason, a)
		eventually(t, "the window is right", func() bool {
			p := r.publishers.link()
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.withheld == 128-share && p.pressure.Level == level
		})
	}
	wide(PressureLow, "disk", kept, 2)
	for range 126 {
		wantKept()
	}
	has(t, r, 2)
	wantKept()
	has(t, r, 2)
	wide(PressureFull, "disk", full, 1)
	if _, ok := send(t, s, "x").(*goamqp.StateRejected); !ok {
		t.Fatal("not rejected")
	}
	if _, ok := send(t, s, "x").(*goamqp.StateRejected); !ok {
		t.Fatal("the credit that it had was taken away")
	}
	has(t, r, 0)
	wide(PressureLow, "disk", kept, 2)
	has(t, r, 2)
	wantKept()
	wide(PressureNone, "", kept, 128)
	has(t, r, 128)
	wantKept()
	has(t, r, 128)
}

// Who attaches when there is no room may ask once, to hear why.
func TestG10WhoComesUnderPressureHasLess(t *testing.T) {
	store := &fakeStore{admission: Admission{Kind: Refuse, Err: amqp.Errorf(amqp.ErrCondResourceLimitExceeded, "disk")}, pressure: Pressure{PressureFull, "disk"}}
	r := start(t, func(c *Config) { c.Store, c.LinkCredit = store, 128 })[0]
	s := sender(t, r, "a", nil)
	has(t, r, 1)
	if _, ok := send(t, s, "x").(*goamqp.StateRejected); !ok {
		t.Error("not rejected")
	}
	has(t, r, 0)
	store.press(PressureNone, "", Admission{Kind: Direct})
	has(t, r, 128)
	if err := s.Close(background(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link is forgotten", func() bool { return r.publishers.link() == nil })
}

// TestG07MemoryMarks: when payloads fill the memory all publishers lose credit, then what would have to be kept is refused with the
// reason, direct traffic flows on, and all is as before when the memory is free.
func TestG07MemoryMarks(t *testing.T) {
	store := &fakeStore{admission: Admission{Kind: Captured}, answer: func(p Publish) { p.Receipt.Answered(Answer{Kind: Kept}) }}
	r := start(t, func(c *Config) { c.Store, c.Memory, c.LinkCredit = store, 1<<20, 128 })[0]
	s := sender(t, r, "a", nil)
	has(t, r, 128)
	level := func(want PressureLevel) {
		t.Helper()
		eventually(t, "the memory's level is right", func() bool {
			p := r.publishers.link()
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.pressure.Level == want
		})
	}
	hold := func(bytes int) *endpoint.Message { return endpoint.NewMessage(make([]byte, bytes), r.budget) }
	first := hold(800 << 10)
	level(PressureLow)
	if _, ok := send(t, s, "x").(*goamqp.StateAccepted); !ok {
		t.Error("refused before the memory is full")
	}
	second := hold(100 << 10)
	level(PressureFull)
	state, ok := send(t, s, "x").(*goamqp.StateRejected)
	if !ok || state.Error == nil || state.Error.Condition != goamqp.ErrCondResourceLimitExceeded || state.Error.Info["reason"] != "memory" || state.Error.Info["retry-after-ms"] != uint32(1000) {
		t.Errorf("got %+v", state)
	}
	store.admit(Admission{Kind: Direct})
	if _, ok := send(t, s, "x").(*goamqp.StateAccepted); !ok {
		t.Error("direct traffic is refused")
	}
	second.Release()
	first.Release()
	level(PressureNone)
	has(t, r, 128)
}

// TestG07FullMemoryHoldsNothingMore: what the store withholds waits in memory, so it is refused when that is full, with the reason, and what
// waited before goes its way.
func TestG07FullMemoryHoldsNothingMore(t *testing.T) {
	store := &fakeStore{admission: Admission{Kind: Withhold}, answer: func(p Publish) { p.Receipt.Answered(Answer{Kind: Kept}) }}
	r := start(t, func(c *Config) { c.Store, c.Memory, c.LinkCredit = store, 1<<20, 128 })[0]
	early, late := sender(t, r, "a", nil), sender(t, r, "a", nil)
	waits := make(chan goamqp.DeliveryState, 1)
	go func() { waits <- send(t, early, "early") }()
	eventually(t, "one is held", func() bool {
		r.held.mu.Lock()
		defer r.held.mu.Unlock()
		return len(r.held.all) == 1
	})
	full := endpoint.NewMessage(make([]byte, 950<<10), r.budget)
	for range 2 {
		state, ok := send(t, late, "late").(*goamqp.StateRejected)
		if !ok || state.Error == nil || state.Error.Info["reason"] != "memory" {
			t.Fatalf("withheld with a full memory: %+v", state)
		}
		late = sender(t, r, "a", nil) // who has heard of it has no credit
	}
	full.Release()
	eventually(t, "the memory is free", func() bool { return !r.memory.refuses() })
	store.admit(Admission{Kind: Captured})
	if _, ok := (<-waits).(*goamqp.StateAccepted); !ok {
		t.Error("what waited is not accepted")
	}
}
