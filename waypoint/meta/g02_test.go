package meta

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// world is what an observer sees who knows everything at once: which subscriptions have been answered, and what routers
// let past them.
type world struct {
	addresses []string

	mu         sync.Mutex
	live       map[string]map[uint64]map[Holder]uint64 // address -> subscription -> let through by isolated routers
	violations []string
	untold     []string
	isolated   uint64 // let through by routers that knew that they were isolated, captured by somebody's subscription or not
	missed     int    // ... past a live subscription
	trusted    uint64 // let through with a lease
	due, told  int    // reports
	answered   int
	healthy    []time.Duration
}

func newWorld(addresses int) *world {
	w := &world{live: map[string]map[uint64]map[Holder]uint64{}}
	for i := range addresses {
		w.addresses = append(w.addresses, fmt.Sprintf("topic/%d", i))
	}
	return w
}

func (w *world) address(s *sim) string { return w.addresses[s.pick(len(w.addresses))] }

func (w *world) reports()  { w.mu.Lock(); w.due++; w.mu.Unlock() }
func (w *world) reported() { w.mu.Lock(); w.told++; w.mu.Unlock() }

// active: the answer that the subscription is there has arrived. Every publish that begins from here on is to be captured.
func (w *world) active(sub uint64, address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.live[address] == nil {
		w.live[address] = map[uint64]map[Holder]uint64{}
	}
	w.live[address][sub] = map[Holder]uint64{}
	w.answered++
}

// leaving: nobody counts on it any more. It returns what isolated routers have let past it.
func (w *world) leaving(sub uint64, address string) map[Holder]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	missed := w.live[address][sub]
	delete(w.live[address], sub)
	return missed
}

// direct: a router lets a publish through to direct subscribers only.
func (w *world) direct(by Holder, address string, isolated bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if isolated {
		w.isolated++
	} else {
		w.trusted++
	}
	for sub, missed := range w.live[address] {
		if isolated {
			w.missed++
			missed[by]++
			continue
		}
		w.violations = append(w.violations, fmt.Sprintf("%v: %v let a publish to %s past subscription %d, trusting in its lease", time.Now(), by, address, sub))
	}
}

// airtight runs publishers, subscribers, failures of routers and changes of meta's leader against each other.
func airtight(t *testing.T, seed uint64, config func(*Config)) *world {
	s := newSim(t, seed, config)
	defer s.close()
	w := newWorld(6)
	s.shards.fails = 20
	s.elect(s.nodes[0], 0)
	var routers []*simRouter
	for i := range 5 {
		routers = append(routers, s.router(w, fmt.Sprintf("r%d", i), 1))
		for _, n := range s.nodes {
			s.fabric.Delay(routers[i].holder.Router, n.name, s.within(time.Duration(1+i*i*6)*time.Millisecond))
		}
	}
	over := make(chan struct{})
	var subscribers, troubles sync.WaitGroup
	for i := range 6 {
		subscribers.Go(func() { subscriber(s, w, routers[i%len(routers)], i, over) })
	}
	troubles.Go(func() { s.trouble(routers, over) })
	time.Sleep(40 * time.Second)
	close(over)
	troubles.Wait()
	subscribers.Wait()
	s.settled(w, routers)
	for _, r := range routers {
		r.stop()
	}
	return w
}

// subscriber makes subscriptions and removes them again.
func subscriber(s *sim, w *world, r *simRouter, i int, over chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-over:
			return
		default:
		}
		time.Sleep(s.within(300 * time.Millisecond))
		address := w.address(s)
		in := peer.OpenRequest{Identity: peer.Identity{Owner: "anna", ContainerID: fmt.Sprint("c", i), LinkName: fmt.Sprint(n % 3)}, Address: address,
			Terminus: peer.Terminus{Durable: 2, ExpiryPolicy: "never"}, Router: r.holder.Router, Boot: r.holder.Boot}
		began := time.Now()
		out, err := ask[peer.OpenResponse](s, r.hub, peer.OpOpen, in)
		if err != nil {
			s.t.Errorf("open %d.%d: %v", i, n, err)
			continue
		}
		w.active(out.Sub, address)
		w.mu.Lock()
		w.healthy = append(w.healthy, time.Since(began))
		w.mu.Unlock()
		if _, ok := s.shards.cursor(out.Sub); !ok {
			s.t.Errorf("subscription %d was answered without a cursor", out.Sub)
		}
		time.Sleep(s.within(3 * time.Second))
		missed := w.leaving(out.Sub, address)
		if s.chance(2) {
			checkTold(s, w, r.hub, out.Sub, missed)
		}
		if err := tell(s, r.hub, peer.OpRemove, peer.RemoveRequest{Sub: out.Sub, Owner: "anna", Gen: out.Gen}); err != nil {
			s.t.Errorf("remove %d: %v", out.Sub, err)
		}
	}
}

// checkTold: what isolated routers have let past a subscription it is told of, as soon as they have reported.
func checkTold(s *sim, w *world, h *peer.Hub, sub uint64, missed map[Holder]uint64) {
	if len(missed) == 0 {
		return
	}
	told := s.eventually(func() bool {
		now, ok := s.nodes[0].machine.Subscription(sub)
		if !ok {
			s.t.Errorf("subscription %d is gone", sub)
			return true
		}
		for by, n := range missed {
			found := false
			for _, g := range now.Gaps {
				found = found || g.Holder == by && g.AtMost >= n
			}
			if !found {
				return false
			}
		}
		return true
	})
	if !told {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.untold = append(w.untold, fmt.Sprintf("subscription %d never learned what has passed it by: %v", sub, missed))
	}
}

// trouble stops routers and changes leaders.
func (s *sim) trouble(routers []*simRouter, over chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(s.within(1500 * time.Millisecond)):
		}
		r := routers[s.pick(len(routers))]
		n := s.nodes[s.pick(len(s.nodes))]
		s.mu.Lock()
		leader := s.leader
		s.mu.Unlock()
		switch s.pick(6) {
		case 0, 1: // SIGSTOP
			wake := time.Now().Add(s.within(4 * time.Second))
			r.post(func() { r.stopped = wake })
		case 2: // a new leader, and the old one goes on believing for a while
			s.elect(n, s.within(time.Second))
		case 3: // a router keeps to the old leader, because it can't reach the new one
			if n != leader {
				s.fabric.Cut(r.holder.Router, n.name)
				s.elect(n, s.within(1500*time.Millisecond))
				s.wg.Go(func() {
					time.Sleep(s.within(3 * time.Second))
					s.fabric.Heal(r.holder.Router, n.name)
				})
			}
		case 4: // a router can reach nobody
			for _, n := range s.nodes {
				s.fabric.Lose(r.holder.Router, n.name)
			}
			s.wg.Go(func() {
				time.Sleep(s.within(5 * time.Second))
				for _, n := range s.nodes {
					s.fabric.Heal(r.holder.Router, n.name)
				}
			})
		case 5: // the same leader begins again
			s.elect(leader, 0)
		}
	}
}

// settled checks that nothing is left half done, or forgotten.
func (s *sim) settled(w *world, routers []*simRouter) {
	m := s.nodes[0].machine
	s.until("nothing is left of what was removed", func() bool { return m.count() == 0 && len(m.Captures()) == 0 })
	s.until("all shards are empty", func() bool {
		s.shards.mu.Lock()
		defer s.shards.mu.Unlock()
		return len(s.shards.cursors) == 0
	})
	s.until("all reports have arrived", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.due == w.told
	})
	// All are healthy again: what every router thinks of captures is what is so.
	for _, r := range routers {
		s.until(fmt.Sprintf("%v has a lease and nothing captured", r.holder), func() bool {
			ok := make(chan bool)
			r.post(func() { ok <- time.Now().Before(r.lease) && len(r.captured) == 0 && r.epoch == m.Epoch() })
			return <-ok
		})
	}
	if got, want := dump(s.t, s.nodes[1].machine), dump(s.t, m); got != want {
		s.t.Errorf("replicas differ:\n%s\n%s", got, want)
	}
}

// TestG02NothingPassesASubscriptionThatWasAnswered: whatever happens to routers and to meta's leader, once a subscription is
// answered no router lets a publish past it while it trusts in its lease; and what one lets past that knows better is told.
func TestG02NothingPassesASubscriptionThatWasAnswered(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := airtight(t, seed, nil)
				for _, v := range append(w.violations, w.untold...) {
					t.Error(v)
				}
				t.Logf("%d answered; let through: %d with a lease, %d without, of which %d past a subscription; %d reports", w.answered, w.trusted, w.isolated, w.missed, w.due)
				if w.answered < 50 || w.trusted == 0 || w.isolated == 0 {
					t.Error("too little has happened")
				}
			})
		})
	}
}

// TestG02FailsWithoutLeases shows that the test above sees what leases are for.
func TestG02FailsWithoutLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := airtight(t, 1, func(c *Config) { c.Unsafe.IgnoreLeases = true })
		if len(w.violations) == 0 {
			t.Error("leases are ignored, and nothing has passed a subscription by: the test above proves nothing")
		}
		t.Logf("%d publishes have passed a subscription, as they should here; %d subscriptions were not told", len(w.violations), len(w.untold))
	})
}
