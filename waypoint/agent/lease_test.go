package agent

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
)

func (w *world) verdict(address string) Verdict { return w.agent.Admit(address).Verdict }

// leased has meta lead and waits for the lease.
func (w *world) leased() {
	w.t.Helper()
	w.meta.lead("b", 1)
	w.wait("a lease", func() bool { return w.agent.lease.is() == leased })
}

func TestStartWithholdsUntilTheFirstLease(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.meta.captures["a"] = true
		pass(9 * time.Second)
		if v := w.verdict("a"); v != Withhold {
			t.Fatalf("the table is empty, but %v", v)
		}
		before := w.change.Load()
		w.leased()
		if w.verdict("a") != Captured || w.verdict("x") != Direct || w.change.Load() == before {
			t.Fatal(w.verdict("a"), w.verdict("x"))
		}
		if n := len(w.meta.reports); n != 0 {
			t.Errorf("%d reports", n)
		}
	})
}

// G9: a router that starts without a cluster is isolated after a time, and direct traffic flows.
func TestG09StartWithoutACluster(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		pass(10*time.Second + 2*tick)
		if v := w.verdict("x"); v != Direct {
			t.Fatal(v)
		}
		if st := w.agent.Status(); !st.Isolated || st.LetThrough != 1 {
			t.Fatalf("%+v", st)
		}
		w.leased()
		w.wait("the report", func() bool { return len(w.meta.reports) == 1 })
		if r := w.meta.reports[0]; r.Period != 1 || r.Router != "r" || r.Boot != 1 || len(r.Counts) != 1 || r.Counts[0] != (peer.IsolatedAddress{Address: "x", Messages: 1}) {
			t.Errorf("%+v", r)
		}
	})
}

// G2: when a router confirms an epoch, every publish that begins from then on is treated by it.
func TestG02CaptureIsInPlaceBeforeItIsConfirmed(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.meta.max = 3
		w.leased()
		captured, epochs := map[string]uint64{}, 0
		w.meta.set(func() {
			w.meta.onRenew = func(r peer.Renew) {
				epochs++
				for address, epoch := range captured {
					if is := w.verdict(address) == Captured; is != (r.Confirmed >= epoch) {
						t.Errorf("epoch %d is confirmed; %s, of %d, is captured: %v", r.Confirmed, address, epoch, is)
					}
				}
			}
		})
		for i := range 50 {
			var add []string
			w.meta.mu.Lock()
			for j := range 1 + i%9 {
				address := fmt.Sprintf("a/%d/%d", i, j)
				add = append(add, address)
				captured[address] = w.meta.epoch + 1
			}
			w.meta.mu.Unlock()
			w.meta.capture(add, nil)
			start := time.Now()
			w.wait("confirmed", func() bool { return w.meta.confirmed() == w.meta.epoch })
			if d := time.Since(start); d != 0 {
				t.Fatalf("confirmed after %v, not at once", d)
			}
		}
		if epochs < 50 {
			t.Fatalf("%d renewals", epochs)
		}
	})
}

func TestCapturesGo(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.meta.captures["a"] = true
		w.meta.captures["b"] = true
		w.leased()
		w.meta.capture([]string{"c"}, []string{"a"})
		synctest.Wait()
		for address, want := range map[string]Verdict{"a": Direct, "b": Captured, "c": Captured} {
			if v := w.verdict(address); v != want {
				t.Errorf("%s: %v", address, v)
			}
		}
	})
}

// The lease counts from when its renewal was sent, not from when the grant arrived.
func TestLeaseCountsFromSending(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.fabric.Delay("r", "b", 400*time.Millisecond)
		var sent time.Time
		w.meta.set(func() { w.meta.onRenew = func(peer.Renew) { sent = time.Now().Add(-400 * time.Millisecond) } })
		w.leased()
		// This was the last renewal that is answered.
		w.meta.set(func() { w.meta.mute = true })
		pass(400 * time.Millisecond)
		w.meta.set(func() { w.meta.onRenew = nil })
		w.wait("no lease", func() bool { return w.agent.Status().Lease == 0 })
		expiry := time.Duration(w.agent.lease.expiry.Load())
		if at := time.Since(w.start); at < expiry || at > expiry+20*time.Millisecond {
			t.Errorf("the lease ended at %v, and was looked at until %v", expiry, at)
		}
		if end := w.start.Add(expiry); end.After(sent.Add(1500 * time.Millisecond)) {
			t.Errorf("the lease ends %v after the renewal", end.Sub(sent))
		}
	})
}

// A lease that has run out and is renewed before a tick has seen it: what was withheld meanwhile is asked about again.
func TestWithheldGoesOnWhenTheLeaseComesJustTooLate(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.leased()
		w.meta.set(func() { w.meta.mute = true })
		pass(tick / 4) // between two ticks
		l := w.agent.lease
		l.expiry.Store(int64(w.agent.cfg.Clock()))
		if v := w.verdict("x"); v != Withhold || l.is() != leased {
			t.Fatal(v, l.is())
		}
		before := w.change.Load()
		l.mu.Lock()
		session, id := l.session, l.lastID+1
		l.lastID++
		l.asked[id] = w.agent.cfg.Clock()
		l.mu.Unlock()
		l.Received(session, []peer.Message{&peer.Lease{ID: id, Millis: 1500, Epoch: l.table.Load().epoch}})
		if v := w.verdict("x"); v != Direct || w.change.Load() == before {
			t.Errorf("%v, and nobody was told", v)
		}
	})
}

func TestIsolation(t *testing.T) {
	cfg := Config{LetThrough: 2, Temporary: func(a string) bool { return a == "temp" }}
	run(t, cfg, func(t *testing.T, w *world) {
		w.meta.captures["a"] = true
		w.meta.policy = peer.Policy{Addresses: []peer.AddressPolicy{{Pattern: "strict/#", Isolated: peer.IsolatedRefuse}}}
		w.leased()
		pass(time.Second)
		w.fabric.Cut("r", "b")
		at := time.Now()
		w.wait("isolated", func() bool { return w.agent.Status().Isolated })
		if d := time.Since(at); d > 1500*time.Millisecond+tick || d < 500*time.Millisecond {
			t.Errorf("isolated after %v", d)
		}
		if v := w.verdict("a"); v != Captured {
			t.Errorf("known as captured: %v", v)
		}
		if a := w.agent.Admit("strict/x"); a.Verdict != Refuse || a.Err.Info[infoReason] != "isolated" {
			t.Errorf("%+v", a)
		}
		for _, address := range []string{"x", "y", "x", "z", "temp", "x"} {
			if v := w.verdict(address); v != Direct {
				t.Errorf("%s: %v", address, v)
			}
		}
		pass(time.Second)
		w.meta.capture([]string{"x"}, nil) // it does not hear of it
		if v := w.verdict("x"); v != Direct {
			t.Error(v)
		}
		w.fabric.Heal("r", "b")
		w.wait("captured", func() bool { return w.verdict("x") == Captured })
		w.wait("the report", func() bool { return len(w.meta.reports) == 1 })
		r := w.meta.reports[0]
		if fmt.Sprint(r.Counts) != "[{x 4} {y 1}]" || r.Other != 1 || r.Period != 1 || r.Until <= r.From {
			t.Errorf("%+v", r)
		}
		if st := w.agent.Status(); st.Isolated || st.LetThrough != 6 {
			t.Errorf("%+v", st)
		}
	})
}

// A process that stood still lets nothing through before it has tried to renew.
func TestG02WakingWithholds(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.leased()
		pass(5 * time.Second)
		before := w.change.Load()
		w.jump.Store(int64(10 * time.Second))
		// A publish may come before any goroutine of the agent's has run again.
		if v := w.verdict("x"); v != Withhold {
			t.Fatalf("with a lease that ran out: %v", v)
		}
		w.wait("a lease", func() bool { return w.verdict("x") == Direct })
		if w.change.Load() == before {
			t.Error("OnChange was not called")
		}
		if n := w.agent.Status().LetThrough; n != 0 {
			t.Errorf("%d let through", n)
		}
		// Meta has written down that the lease ran out, and waits for a word.
		w.wait("the report", func() bool { return len(w.meta.reports) == 1 })
		if r := w.meta.reports[0]; len(r.Counts) != 0 || r.Other != 0 {
			t.Errorf("%+v", r)
		}
	})
}

func TestWakingIsBounded(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.leased()
		pass(5 * time.Second)
		w.fabric.Cut("r", "b")
		w.jump.Store(int64(10 * time.Second))
		at := time.Now()
		w.wait("let through", func() bool { return w.verdict("x") == Direct })
		if d := time.Since(at); d < time.Second-tick || d > time.Second+3*tick {
			t.Errorf("withheld for %v", d)
		}
		if !w.agent.Status().Isolated {
			t.Error("not isolated")
		}
	})
}

// A leader of meta that can't grant is not asked without end.
func TestNoGrantNoStorm(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.meta.lease = 0
		w.meta.lead("b", 1)
		pass(10 * time.Second)
		if n := len(w.meta.confirms); n < 10 || n > 40 {
			t.Errorf("%d renewals in 10 s", n)
		}
	})
}

func TestLeaseSurvivesALeaderChange(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.meta.captures["a"] = true
		w.leased()
		pass(time.Second)
		w.meta.depose()
		pass(500 * time.Millisecond)
		w.meta.capture([]string{"c"}, nil)
		w.meta.lead("c", 2)
		for range 100 {
			if v := w.verdict("x"); v != Direct {
				t.Fatal(v)
			}
			pass(20 * time.Millisecond)
		}
		if v := w.verdict("c"); v != Captured {
			t.Error(v)
		}
		if h := w.meta.hellos[1]; h.Router != "r" || h.Boot != 1 || h.Term != 1 {
			t.Errorf("%+v", h)
		}
	})
}

// A change that does not follow what is known is not taken; the next session brings everything.
func TestChangeThatDoesNotFit(t *testing.T) {
	for name, bad := range map[string]peer.Lease{
		"of another epoch": {Epoch: 9, Since: 7, Add: []string{"x"}},
		"old":              {Epoch: 0, Full: true, Add: []string{"x"}},
		"bad policy":       {Epoch: 9, Since: 1, Policy: []byte("{")},
		"bad slots":        {Epoch: 9, Since: 1, Slots: []uint32{1}},
		"bad shard":        {Epoch: 9, Since: 1, Slots: make([]uint32, peer.Slots)},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, Config{}, func(t *testing.T, w *world) {
				w.meta.captures["a"] = true
				w.leased()
				w.meta.set(func() {
					w.meta.sessions[0].Send(&bad)
					w.meta.sessions[0].Flush()
				})
				synctest.Wait()
				if w.verdict("x") != Direct || w.verdict("a") != Captured {
					t.Error(w.verdict("x"), w.verdict("a"))
				}
				w.wait("another session", func() bool { return len(w.meta.hellos) == 2 })
				w.meta.capture([]string{"x"}, nil)
				w.wait("everything", func() bool { return w.verdict("x") == Captured })
				whole := 0
				for _, confirmed := range w.meta.confirms {
					if confirmed == 0 {
						whole++
					}
				}
				if whole != 2 {
					t.Errorf("asked for everything %d times: %v", whole, w.meta.confirms)
				}
			})
		})
	}
}

// TestTable holds the layered set against a plain one.
func TestTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	now := &table{}
	model := map[string]bool{}
	merges := 0
	for epoch := range uint64(3000) {
		c := change{epoch: epoch + 1, since: epoch}
		for range rng.IntN(4) {
			a := fmt.Sprint(rng.IntN(1000))
			c.add = append(c.add, a)
		}
		for range rng.IntN(4) {
			a := fmt.Sprint(rng.IntN(1000))
			c.del = append(c.del, a)
		}
		for _, a := range c.del {
			delete(model, a)
		}
		for _, a := range c.add {
			model[a] = true
		}
		before := now
		next, err := c.apply(now, nil)
		if err != nil {
			t.Fatal(err)
		}
		now = next
		if len(before.changes) > 0 && len(now.changes) == 0 {
			merges++
		}
		if now.count != len(model) {
			t.Fatalf("count %d, want %d", now.count, len(model))
		}
		for i := range 1000 {
			if a := fmt.Sprint(i); now.captured(a) != model[a] {
				t.Fatalf("epoch %d: %s is %v", epoch, a, now.captured(a))
			}
		}
	}
	if merges < 3 {
		t.Fatalf("merged %d times", merges)
	}
}

func TestAdmitDoesNotAllocate(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.meta.captures["a"] = true
		w.leased()
		for _, address := range []string{"a", "some/other/address"} {
			if n := testing.AllocsPerRun(100, func() { w.agent.Admit(address) }); n != 0 {
				t.Errorf("%s: %v allocations", address, n)
			}
		}
	})
}

func TestBootClock(t *testing.T) {
	c := BootClock()
	a := c()
	if b := c(); a <= 0 || b < a {
		t.Fatal(a, b)
	}
}

// The clock that is put together of three sees a sleep at once, and is not led astray by a wall clock that is set.
func TestSleepClock(t *testing.T) {
	var mono, wall, boot time.Duration
	reads := 0
	run := func(d time.Duration) { mono, wall, boot = mono+d, wall+d, boot+d }
	c := sleepClock(func() (time.Duration, time.Duration) { return mono, wall }, func() time.Duration { reads++; return boot })
	check := func(what string, most int) {
		t.Helper()
		reads = 0
		if got := c(); got != boot {
			t.Errorf("%s: %v, want %v", what, got, boot)
		}
		if reads > most {
			t.Errorf("%s: the slow clock was read", what)
		}
	}
	run(time.Hour)
	check("first", 1)
	run(20 * time.Millisecond)
	check("soon after", 0)
	run(time.Second)
	check("later", 1)
	wall, boot = wall+time.Minute, boot+time.Minute
	check("after a sleep", 1)
	wall += time.Hour
	check("wall clock set forward", 1)
	wall -= 2 * time.Hour
	check("wall clock set back", 1)
	wall, boot = wall+10*time.Millisecond, boot+10*time.Millisecond
	check("after a short sleep", 1)
	run(time.Millisecond)
	check("soon after", 0)
}

func BenchmarkAdmit(b *testing.B) {
	t := &table{base: map[string]struct{}{"orders/eu": {}}, policy: &peer.Policy{}, shards: new([peer.Slots]*shard)}
	a := &Agent{cfg: Config{Clock: BootClock()}}
	a.lease = &lease{agent: a}
	a.lease.table.Store(t)
	a.lease.expiry.Store(1<<63 - 1)
	for i := range t.shards {
		t.shards[i] = &shard{}
	}
	for _, address := range []string{"orders/eu", "orders/us"} {
		b.Run(a.Admit(address).Verdict.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a.Admit(address)
			}
		})
	}
}
