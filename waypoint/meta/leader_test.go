package meta

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// cluster is a sim with quiet routers and a leader.
type cluster struct {
	*sim
	routers []*simRouter
	client  *peer.Hub
	meta    Client
}

func inCluster(t *testing.T, routers int, config func(*Config), test func(*testing.T, *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, config)
		c := &cluster{sim: s, client: s.hub("client")}
		c.meta = Client{c.client}
		defer func() {
			for _, r := range c.routers {
				r.stop()
			}
			c.client.Close()
			s.close()
		}()
		s.elect(s.nodes[0], 0)
		for i := range routers {
			c.routers = append(c.routers, s.router(nil, fmt.Sprintf("r%d", i), 1))
		}
		c.allLeased()
		c.until("all have reported that they began without a lease", func() bool {
			_, reports := c.machine().Isolated()
			return reports == uint64(routers)
		})
		test(t, c)
	})
}

// look reads something of a router's on its own goroutine.
func look[T any](r *simRouter, get func() T) T {
	got := make(chan T)
	r.post(func() { got <- get() })
	return <-got
}

func (c *cluster) allLeased() {
	c.t.Helper()
	for _, r := range c.routers {
		c.until(fmt.Sprintf("%v has a lease", r.holder), func() bool { return look(r, func() bool { return time.Now().Before(r.lease) }) })
	}
}

func (c *cluster) machine() *Machine { return c.nodes[0].machine }

func attachRequest(name, address string, r *simRouter) peer.OpenRequest {
	return peer.OpenRequest{Identity: peer.Identity{Owner: "anna", ContainerID: "c", LinkName: name}, Address: address,
		Terminus: peer.Terminus{Durable: 2, ExpiryPolicy: "never"}, Router: r.holder.Router, Boot: r.holder.Boot}
}

func (c *cluster) open(in peer.OpenRequest) *peer.OpenResponse {
	c.t.Helper()
	out, err := ask[peer.OpenResponse](c.sim, c.client, peer.OpOpen, in)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// wantRefused wants an error with that condition that says text.
func wantRefused(t *testing.T, err error, condition amqp.Symbol, text string) {
	t.Helper()
	var refused *peer.Error
	if !errors.As(err, &refused) || refused.Condition != string(condition) || !strings.Contains(refused.Description, text) {
		t.Errorf("error %v, want %s: ...%s...", err, condition, text)
	}
}

func (c *cluster) gone(id uint64) {
	c.t.Helper()
	c.until(fmt.Sprintf("subscription %d is gone", id), func() bool {
		_, record := c.machine().Subscription(id)
		_, cursor := c.shards.cursor(id)
		return !record && !cursor
	})
}

func TestAnActivationIsAFewEntriesWhenAllAreWell(t *testing.T) {
	inCluster(t, 5, nil, func(t *testing.T, c *cluster) {
		c.mu.Lock()
		before := c.index
		c.mu.Unlock()
		began := time.Now()
		out := c.open(attachRequest("l", "a", c.routers[0]))
		took := time.Since(began) // of the bubble's time: the sum of the delays that it has waited for
		c.mu.Lock()
		entries := c.index - before
		c.mu.Unlock()
		if entries != 4 {
			t.Errorf("%d entries, want 4: created, captured, active, attached", entries)
		}
		if took > 10*c.commit {
			t.Errorf("it took %v, with at most %v for an entry and %v for a call to the shard: somebody waited for a renewal", took, c.commit, c.commit)
		}
		if !out.Created || out.Gen != 1 || out.Name != "c/l" || out.Limits.MaxMessages != 100_000 || out.Shards[0] != 1+uint32(peer.Slot("a"))%3 {
			t.Errorf("%+v", out)
		}
		for _, r := range c.routers {
			if !look(r, func() bool { return r.captured["a"] }) {
				t.Errorf("%v does not capture it", r.holder)
			}
		}
		if cur, ok := c.shards.cursor(out.Sub); !ok || cur.shard != out.Shards[0] || cur.limits != out.Limits {
			t.Errorf("%+v", cur)
		}
		again := c.open(attachRequest("l", "a", c.routers[0]))
		if again.Created || again.Sub != out.Sub || again.Gen != 2 {
			t.Errorf("%+v", again)
		}
	})
}

func TestAStoppedRouterHoldsAnActivationUpForItsLeaseAndNoLonger(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		c.open(attachRequest("first", "known", c.routers[0]))
		asleep := c.routers[2]
		lease := look(asleep, func() time.Time { return asleep.lease })
		asleep.post(func() { asleep.stopped = time.Now().Add(20 * time.Second) })
		c.open(attachRequest("second", "known", c.routers[0]))
		if !time.Now().Before(lease) {
			t.Error("an address that all have confirmed already waited for the router that is asleep")
		}
		out := c.open(attachRequest("third", "new", c.routers[0]))
		if time.Now().Before(lease) {
			t.Error("answered while a router had a lease and had not confirmed")
		}
		if late := time.Since(lease); late > simLease {
			t.Errorf("answered %v after the lease had run out", late)
		}
		known := c.machine().Routers()[2]
		sub, _ := c.machine().Subscription(out.Sub)
		if known.Lost == 0 || known.Lost > sub.Activated {
			t.Errorf("lost by entry %d, active by entry %d", known.Lost, sub.Activated)
		}
		if len(sub.Gaps) != 1 || sub.Gaps[0].Holder != asleep.holder {
			t.Errorf("gaps: %+v", sub.Gaps)
		}
		began := time.Now()
		c.open(attachRequest("fourth", "newer", c.routers[0]))
		if time.Since(began) > 10*c.commit {
			t.Error("a lost router holds up the next one, too")
		}
		c.until("it is back, and has reported", func() bool {
			sub, _ := c.machine().Subscription(out.Sub)
			return c.machine().Routers()[2].Lost == 0 && sub.Gaps[0].Known
		})
	})
}

// What a subscription has missed is told with the attach's answer, by a notice when the router that was away has reported, and
// again by a new leader, who knows what the subscriber has heard of, too.
func TestG02WhatWasMissedIsToldWhoeverLeads(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		asleep, at := c.routers[2], c.routers[0]
		asleep.post(func() { asleep.stopped, asleep.isolated["new"] = time.Now().Add(20*time.Second), 7 })
		out := c.open(attachRequest("l", "new", at))
		if out.Missed != (peer.Missed{Unknown: 1}) || out.Heard != (peer.Missed{}) {
			t.Errorf("the attach's answer says %+v, heard %+v", out.Missed, out.Heard)
		}
		told := func(want peer.MissedNotice) {
			t.Helper()
			c.until(fmt.Sprintf("the router is told %+v", want), func() bool {
				return look(at, func() bool { return len(at.missed) > 0 && at.missed[len(at.missed)-1] == want })
			})
		}
		missed := peer.Missed{AtMost: 7}
		told(peer.MissedNotice{Sub: out.Sub, Missed: missed})
		if err := tell(c.sim, c.client, peer.OpHeard, peer.HeardRequest{Sub: out.Sub, Missed: missed}); err != nil {
			t.Fatal(err)
		}
		told(peer.MissedNotice{Sub: out.Sub, Missed: missed, Heard: missed})
		c.elect(c.nodes[1], 0)
		look(at, func() bool { at.missed = nil; return true })
		told(peer.MissedNotice{Sub: out.Sub, Missed: missed, Heard: missed})
		if again := c.open(attachRequest("l", "new", at)); again.Missed != missed || again.Heard != missed {
			t.Errorf("the new leader says %+v, heard %+v", again.Missed, again.Heard)
		}
		list, err := c.meta.List(c.ctx, ListRequest{AnyOwner: true})
		if err != nil || len(list.Subscriptions) != 1 || list.Subscriptions[0].Missed != missed || list.Subscriptions[0].Heard != missed {
			t.Errorf("%+v %v", list, err)
		}
		look, err := ask[peer.LookupResponse](c.sim, c.client, peer.OpLookup, peer.LookupRequest{Identity: attachRequest("l", "new", at).Identity})
		if err != nil || look.Missed != missed || look.Heard != missed {
			t.Errorf("%+v %v", look, err)
		}
	})
}

func TestANewLeaderWaitsForLeasesThatItDoesNotKnow(t *testing.T) {
	inCluster(t, 2, nil, func(t *testing.T, c *cluster) {
		// One router can't reach the new leader, and has a lease of the old one.
		alone := c.routers[1]
		c.fabric.Cut(alone.holder.Router, "n1")
		c.fabric.Cut(alone.holder.Router, "n0")
		elected := time.Now()
		lease := look(alone, func() time.Time { return alone.lease })
		c.elect(c.nodes[1], 0)
		c.open(attachRequest("l", "a", c.routers[0]))
		if now := time.Now(); now.Before(lease) || now.Sub(elected) < simLease {
			t.Errorf("answered %v after the election; the lease ran out after %v", now.Sub(elected), lease.Sub(elected))
		}
		c.elect(c.nodes[2], 0) // this one both can reach
		c.until("both are there", func() bool {
			st, err := c.meta.Status(c.ctx)
			return err == nil && len(st.Routers) == 2 && st.Routers[0].Connected && st.Routers[1].Connected && !st.Routers[1].Lost
		})
		c.elect(c.nodes[0], 0)
		c.fabric.Heal(alone.holder.Router, "n0")
		elected = time.Now()
		c.open(attachRequest("m", "b", c.routers[0]))
		if took := time.Since(elected); took >= simLease {
			t.Errorf("all had confirmed to the new leader, and it took %v", took)
		}
	})
}

func TestASecondAttachTakesOver(t *testing.T) {
	inCluster(t, 2, nil, func(t *testing.T, c *cluster) {
		first := c.open(attachRequest("l", "a", c.routers[0]))
		second := c.open(attachRequest("l", "a", c.routers[1]))
		if second.Gen != first.Gen+1 || second.Sub != first.Sub {
			t.Errorf("%+v", second)
		}
		c.until("the first is told", func() bool { return look(c.routers[0], func() bool { return len(c.routers[0].notices) > 0 }) })
		n := look(c.routers[0], func() *peer.Notice { return c.routers[0].notices[0] })
		if n.Sub != first.Sub || n.Gen != first.Gen || n.Condition != string(amqp.ErrCondStolen) {
			t.Errorf("%+v", n)
		}
		err := tell(c.sim, c.client, peer.OpRemove, peer.RemoveRequest{Sub: first.Sub, Owner: "anna", Gen: first.Gen})
		wantRefused(t, err, amqp.ErrCondStolen, "attached elsewhere")
		if err := tell(c.sim, c.client, peer.OpLeave, peer.LeaveRequest{Sub: first.Sub, Gen: first.Gen, Event: "link-detach"}); err != nil {
			t.Error(err)
		}
		if s, _ := c.machine().Subscription(first.Sub); s.Left != 0 || s.State != Active {
			t.Errorf("the first link's end concerned the second: %+v", s)
		}
		if err := c.meta.Drop(c.ctx, Ref{ID: first.Sub, AnyOwner: true}); err != nil {
			t.Fatal(err)
		}
		c.until("the second is told", func() bool {
			return look(c.routers[1], func() bool {
				l := c.routers[1].notices
				return len(l) == 1 && l[0].Condition == string(amqp.ErrCondResourceDeleted) && l[0].Gen == second.Gen
			})
		})
		c.gone(first.Sub)
	})
}

func TestAnotherUserIsRefused(t *testing.T) {
	inCluster(t, 1, nil, func(t *testing.T, c *cluster) {
		mine := c.open(attachRequest("l", "a", c.routers[0]))
		other := attachRequest("l", "a", c.routers[0])
		other.Owner = "bert"
		_, err := ask[peer.OpenResponse](c.sim, c.client, peer.OpOpen, other)
		wantRefused(t, err, amqp.ErrCondUnauthorizedAccess, "another user")
		_, err = ask[peer.LookupResponse](c.sim, c.client, peer.OpLookup, peer.LookupRequest{Identity: other.Identity})
		wantRefused(t, err, amqp.ErrCondUnauthorizedAccess, "another user")
		err = tell(c.sim, c.client, peer.OpRemove, peer.RemoveRequest{Sub: mine.Sub, Owner: "bert"})
		wantRefused(t, err, amqp.ErrCondUnauthorizedAccess, "another user")
		_, err = c.meta.Set(c.ctx, SetRequest{Ref: Ref{ID: mine.Sub, Owner: "bert"}})
		wantRefused(t, err, amqp.ErrCondUnauthorizedAccess, "another user")
		_, err = c.meta.Create(c.ctx, CreateRequest{Owner: "anna", Name: "named", Address: "a"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.meta.Create(c.ctx, CreateRequest{Owner: "bert", Name: "named", Address: "a"})
		wantRefused(t, err, amqp.ErrCondUnauthorizedAccess, "another user")
		if s, _ := c.machine().Subscription(mine.Sub); s.Gen != 1 || s.State != Active {
			t.Errorf("%+v", s)
		}
	})
}

func TestLookup(t *testing.T) {
	inCluster(t, 1, nil, func(t *testing.T, c *cluster) {
		in := attachRequest("l", "a", c.routers[0])
		_, err := ask[peer.LookupResponse](c.sim, c.client, peer.OpLookup, peer.LookupRequest{Identity: in.Identity})
		wantRefused(t, err, amqp.ErrCondNotFound, "c/l")
		out := c.open(in)
		got, err := ask[peer.LookupResponse](c.sim, c.client, peer.OpLookup, peer.LookupRequest{Identity: in.Identity})
		if err != nil || got.Sub != out.Sub || got.Address != "a" || got.Limits != out.Limits || got.Terminus.ExpiryPolicy != "never" {
			t.Errorf("%+v %v", got, err)
		}
		if s, _ := c.machine().Subscription(out.Sub); s.Gen != 1 {
			t.Error("a lookup has taken the link over")
		}
	})
}

// JMS: a durable subscription whose topic changes is another one. The old one, with its backlog, goes when the new one is
// there, not before.
func TestAnotherAddressIsAnotherSubscription(t *testing.T) {
	inCluster(t, 1, nil, func(t *testing.T, c *cluster) {
		old := c.open(attachRequest("l", "a", c.routers[0]))
		c.shards.mu.Lock()
		c.shards.refuse = "b"
		c.shards.mu.Unlock()
		_, err := ask[peer.OpenResponse](c.sim, c.client, peer.OpOpen, attachRequest("l", "b", c.routers[0]))
		wantRefused(t, err, amqp.ErrCondResourceLimitExceeded, "no room")
		if back := c.open(attachRequest("l", "a", c.routers[0])); back.Sub != old.Sub {
			t.Errorf("the old one is gone though there is no new one: %+v", back)
		}
		next := c.open(attachRequest("l", "d", c.routers[0]))
		if next.Sub == old.Sub || !next.Created || next.Address != "d" {
			t.Errorf("%+v", next)
		}
		c.gone(old.Sub)
		if captures := c.machine().Captures(); len(captures) != 1 || captures[0].Address != "d" {
			t.Errorf("%+v", captures)
		}
	})
}

func TestARefusalOfTheShardLeavesNothingBehind(t *testing.T) {
	inCluster(t, 1, nil, func(t *testing.T, c *cluster) {
		c.shards.refuse = "full"
		_, err := ask[peer.OpenResponse](c.sim, c.client, peer.OpOpen, attachRequest("l", "full", c.routers[0]))
		wantRefused(t, err, amqp.ErrCondResourceLimitExceeded, "no room")
		_, err = c.meta.Create(c.ctx, CreateRequest{Owner: "anna", Name: "n", Address: "full"})
		wantRefused(t, err, amqp.ErrCondResourceLimitExceeded, "no room")
		c.until("nothing is left", func() bool { return c.machine().count() == 0 && len(c.machine().Captures()) == 0 })
	})
}

func TestLimitsOfLinksAndOperators(t *testing.T) {
	seed := func(c *Config) {
		c.Seed.Policy.Addresses = []peer.AddressPolicy{{Pattern: "a", Caps: peer.Limits{MaxMessages: 1000}}}
	}
	inCluster(t, 1, seed, func(t *testing.T, c *cluster) {
		in := attachRequest("l", "a", c.routers[0])
		in.Limits.MaxMessages = 5000
		out := c.open(in)
		if out.Limits.MaxMessages != 1000 {
			t.Errorf("a link's limits above the cap are the cap: %+v", out.Limits)
		}
		ref := Ref{Name: "c/l", Owner: "anna"}
		_, err := c.meta.Set(c.ctx, SetRequest{Ref: ref, Limits: peer.Limits{MaxMessages: 1001}})
		wantRefused(t, err, amqp.ErrCondInvalidField, `max-messages 1001 is not allowed: the policy of "a" caps it at 1000`)
		info, err := c.meta.Set(c.ctx, SetRequest{Ref: ref, Limits: peer.Limits{MaxMessages: 10}})
		if err != nil || info.Limits.MaxMessages != 10 || info.Limits.MaxInFlight != 5 || !info.LimitsAt {
			t.Errorf("%+v %v", info, err)
		}
		if cur, _ := c.shards.cursor(out.Sub); cur.limits != info.Limits {
			t.Errorf("answered before the shard had them: %+v", cur)
		}
		if again := c.open(in); again.Limits != info.Limits {
			t.Errorf("a link that names what it named before undid what the operator has set: %+v", again.Limits)
		}
		in.Limits.MaxMessages = 20
		if again := c.open(in); again.Limits.MaxMessages != 20 {
			t.Errorf("a link that names something else is not heard: %+v", again.Limits)
		}
		if cur, _ := c.shards.cursor(out.Sub); cur.limits.MaxMessages != 20 {
			t.Errorf("the attach was answered before the shard had its limits: %+v", cur)
		}
		_, err = c.meta.Set(c.ctx, SetRequest{Ref: Ref{Name: "nobody", AnyOwner: true}})
		wantRefused(t, err, amqp.ErrCondNotFound, "nobody")
		_, err = c.meta.Create(c.ctx, CreateRequest{Owner: "anna", Name: "n", Address: "a", Limits: peer.Limits{MaxMessages: peer.Unlimited}})
		wantRefused(t, err, amqp.ErrCondInvalidField, "unlimited is not allowed")
	})
}

// A shard that is down holds up what needs it, and nothing else; a new leader goes on where the old one was.
func TestStepsGoOnUnderAnotherLeader(t *testing.T) {
	inCluster(t, 2, nil, func(t *testing.T, c *cluster) {
		out := c.open(attachRequest("l", "a", c.routers[0]))
		set := func(down bool) {
			c.shards.mu.Lock()
			c.shards.down = down
			c.shards.mu.Unlock()
		}
		set(true)
		if err := tell(c.sim, c.client, peer.OpRemove, peer.RemoveRequest{Sub: out.Sub, Owner: "anna"}); err != nil {
			t.Fatal(err) // decided, though not done
		}
		var wg sync.WaitGroup
		var created *peer.OpenResponse
		wg.Go(func() { created = c.open(attachRequest("l", "a", c.routers[0])) }) // the same names again
		var changed Info
		c.until("there is a new one", func() bool { return c.machine().count() == 2 })
		for i := range 3 {
			c.elect(c.nodes[(i+1)%3], time.Second)
			time.Sleep(700 * time.Millisecond)
		}
		if n := c.machine().Counts()[Removing]; n != 1 {
			t.Errorf("%d are being removed, want 1", n)
		}
		set(false)
		wg.Wait()
		if created.Sub == out.Sub {
			t.Error("what was removed is there again")
		}
		c.gone(out.Sub)
		set(true)
		wg.Go(func() {
			var err error
			if changed, err = c.meta.Set(c.ctx, SetRequest{Ref: Ref{ID: created.Sub, AnyOwner: true}, Limits: peer.Limits{MaxMessages: 7}}); err != nil {
				t.Error(err)
			}
		})
		c.until("the limits are decided", func() bool {
			s, _ := c.machine().Subscription(created.Sub)
			return s.Limits.MaxMessages == 7
		})
		c.elect(c.nodes[1], 300*time.Millisecond)
		time.Sleep(time.Second)
		set(false)
		wg.Wait()
		if cur, _ := c.shards.cursor(created.Sub); cur.limits.MaxMessages != 7 || changed.Limits.MaxMessages != 7 {
			t.Errorf("%+v %+v", cur, changed)
		}
	})
}

// A `creating` that nobody waits for any more is finished: its sender may come back for it.
func TestWhatWasBegunIsFinishedWithoutItsCreator(t *testing.T) {
	inCluster(t, 1, nil, func(t *testing.T, c *cluster) {
		c.shards.mu.Lock()
		c.shards.down = true
		c.shards.mu.Unlock()
		creator := c.hub("creator")
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := ask[peer.OpenResponse](c.sim, creator, peer.OpOpen, attachRequest("l", "a", c.routers[0])); err == nil {
				t.Error("answered without a cursor")
			}
		})
		c.until("it is begun", func() bool { return c.machine().count() == 1 })
		creator.Close()
		wg.Wait()
		c.elect(c.nodes[1], 0)
		time.Sleep(20 * time.Second)
		c.shards.mu.Lock()
		c.shards.down = false
		c.shards.mu.Unlock()
		c.until("it is active", func() bool { return c.machine().Counts()[Active] == 1 })
		if s := c.machine().Subscriptions(0, 1)[0]; s.Gen > 1 || s.Left == 0 && s.Gen == 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestTenThousandSubscriptions(t *testing.T) {
	inCluster(t, 3, nil, func(t *testing.T, c *cluster) {
		c.mu.Lock()
		before := c.index
		c.mu.Unlock()
		const n = 10_000
		began := time.Now()
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				if _, err := c.meta.Create(c.ctx, CreateRequest{Owner: "anna", Name: fmt.Sprint("s", i), Address: fmt.Sprint("t/", i%1000)}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		c.mu.Lock()
		entries := c.index - before
		c.mu.Unlock()
		c.shards.mu.Lock()
		calls, cursors := c.shards.calls, len(c.shards.cursors)
		c.shards.mu.Unlock()
		if active := c.machine().Counts()[Active]; active != n || cursors != n {
			t.Errorf("%d are active, with %d cursors", active, cursors)
		}
		t.Logf("%d entries, %d calls of shards, %v", entries, calls, time.Since(began))
		if entries > n/20 || calls > n/20 {
			t.Errorf("%d entries and %d calls for %d subscriptions: they were not made together", entries, calls, n)
		}
		for _, r := range c.routers {
			if got := look(r, func() int { return len(r.captured) }); got != 1000 {
				t.Errorf("%v captures %d addresses", r.holder, got)
			}
		}
		// A router that is new learns all of it, in parts, before its first lease.
		late := c.router(nil, "late", 1)
		c.routers = append(c.routers, late)
		c.allLeased()
		if got := look(late, func() int { return len(late.captured) }); got != 1000 {
			t.Errorf("the late one captures %d addresses", got)
		}
		var after uint64
		seen := 0
		for {
			page, err := c.meta.List(c.ctx, ListRequest{After: after, AnyOwner: true})
			if err != nil {
				t.Fatal(err)
			}
			seen += len(page.Subscriptions)
			if page.Next == 0 {
				break
			}
			after = page.Next
		}
		if seen != n {
			t.Errorf("%d are listed", seen)
		}
	})
}

func TestExpiryOfWhoeverIsAway(t *testing.T) {
	inCluster(t, 2, nil, func(t *testing.T, c *cluster) {
		in := attachRequest("l", "a", c.routers[0])
		in.Terminus = peer.Terminus{Durable: 1, ExpiryPolicy: "link-detach", Timeout: 30}
		stays := c.open(in)
		in.LinkName = "m"
		goes := c.open(in)
		in.LinkName, in.Router = "n", c.routers[1].holder.Router
		dies := c.open(in)
		for _, o := range []*peer.OpenResponse{stays, goes} {
			if err := tell(c.sim, c.client, peer.OpLeave, peer.LeaveRequest{Sub: o.Sub, Gen: o.Gen, Event: "link-detach"}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Second)
		in.LinkName, in.Router = "l", c.routers[0].holder.Router
		if again := c.open(in); again.Sub != stays.Sub {
			t.Errorf("%+v", again)
		}
		time.Sleep(9 * time.Second)
		if c.machine().Counts()[Active] != 3 {
			t.Errorf("%v after 29 s", c.machine().Counts())
		}
		c.gone(goes.Sub)
		c.routers[1].stop()
		c.routers = c.routers[:1]
		died := time.Now()
		c.gone(dies.Sub)
		if took := time.Since(died); took < 30*time.Second {
			t.Errorf("what a dead router had was gone after %v", took)
		}
		if _, ok := c.machine().Subscription(stays.Sub); !ok {
			t.Error("what is attached expired")
		}
		c.until("the dead router is forgotten", func() bool {
			time.Sleep(time.Second)
			return len(c.machine().Routers()) == 1
		})
	})
}

func TestShardsLearnWhatIsOver(t *testing.T) {
	inCluster(t, 1, nil, func(t *testing.T, c *cluster) {
		there := c.open(attachRequest("l", "a", c.routers[0]))
		over := c.open(attachRequest("m", "a", c.routers[0]))
		if err := c.meta.Drop(c.ctx, Ref{Name: "c/m", AnyOwner: true}); err != nil {
			t.Fatal(err)
		}
		c.gone(over.Sub)
		later := SubscriptionID(1<<40, 0) // of a leader that this one has not heard of
		got, err := c.meta.Ended(c.ctx, []uint64{there.Sub, over.Sub, later})
		if err != nil || !slices.Equal(got, []uint64{over.Sub}) {
			t.Errorf("%v %v, want %d", got, err, over.Sub)
		}
	})
}

func TestAPolicyIsAnsweredWhenAllRoutersHaveIt(t *testing.T) {
	inCluster(t, 2, nil, func(t *testing.T, c *cluster) {
		refuse := peer.Policy{Default: peer.AddressPolicy{Isolated: peer.IsolatedRefuse}}
		asleep := c.routers[1]
		lease := look(asleep, func() time.Time { return asleep.lease })
		asleep.post(func() { asleep.stopped = time.Now().Add(10 * time.Second) })
		if err := c.meta.SetPolicy(c.ctx, refuse); err != nil {
			t.Fatal(err)
		}
		if time.Now().Before(lease) {
			t.Error("answered while a router with a lease still had the old policy")
		}
		if got := look(c.routers[0], func() string { return c.routers[0].policy }); got != string(policyJSON(&refuse)) {
			t.Errorf("the router has %s", got)
		}
		c.until("the other has it when it wakes", func() bool {
			return look(asleep, func() bool { return asleep.policy == string(policyJSON(&refuse)) })
		})
		err := c.meta.SetPolicy(c.ctx, peer.Policy{Default: peer.AddressPolicy{Isolated: "perhaps"}})
		wantRefused(t, err, amqp.ErrCondInvalidField, "perhaps")
	})
}

func TestWhatAnOperatorSees(t *testing.T) {
	inCluster(t, 1, nil, func(t *testing.T, c *cluster) {
		out := c.open(attachRequest("l", "a", c.routers[0]))
		created, err := c.meta.Create(c.ctx, CreateRequest{Owner: "bert", Name: "n", Address: "b"})
		if err != nil || created.State != "active" || created.CreatedBy != "operator" || created.Terminus.ExpiryPolicy != "never" || created.Router != "" {
			t.Errorf("%+v %v", created, err)
		}
		if again, err := c.meta.Create(c.ctx, CreateRequest{Owner: "bert", Name: "n", Address: "b"}); err != nil || again.ID != created.ID {
			t.Errorf("%+v %v", again, err)
		}
		_, err = c.meta.Create(c.ctx, CreateRequest{Owner: "bert", Name: "n", Address: "c"})
		wantRefused(t, err, amqp.ErrCondPreconditionFailed, `on the address "b"`)
		list, err := c.meta.List(c.ctx, ListRequest{AnyOwner: true, Stats: true})
		if err != nil || len(list.Subscriptions) != 2 || list.Subscriptions[0].Router != "by the shard" || list.Subscriptions[0].Stats.Messages != out.Sub {
			t.Errorf("%+v %v", list, err)
		}
		mine, err := c.meta.List(c.ctx, ListRequest{Owner: "bert"})
		if err != nil || len(mine.Subscriptions) != 1 {
			t.Errorf("%+v %v", mine, err)
		}
		c.shards.mu.Lock()
		c.shards.down = true
		c.shards.mu.Unlock()
		one, err := c.meta.List(c.ctx, ListRequest{Ref: &Ref{Name: "n", AnyOwner: true}, Stats: true})
		if err != nil || len(one.Subscriptions) != 1 || one.Subscriptions[0].Stats != nil || one.Subscriptions[0].StatsError == "" {
			t.Errorf("%+v %v", one, err)
		}
		_, err = c.meta.List(c.ctx, ListRequest{Ref: &Ref{Name: "x", AnyOwner: true}})
		wantRefused(t, err, amqp.ErrCondNotFound, `"x"`)
		err = tell(c.sim, c.client, "dance", struct{}{})
		wantRefused(t, err, amqp.ErrCondNotImplemented, "dance")
		_, err = ask[Info](c.sim, c.client, opCreate, "not an object")
		wantRefused(t, err, amqp.ErrCondDecodeError, opCreate)
	})
}

// A router that stops in order holds nobody up, and one that starts again is no gap as it was before.
func TestARouterThatStopsAndStartsAgain(t *testing.T) {
	inCluster(t, 2, nil, func(t *testing.T, c *cluster) {
		restart := func(boot uint64) {
			c.fabric.Crash("r1")
			c.routers[1] = c.router(nil, "r1", boot)
			c.allLeased()
		}
		c.routers[1].stop()
		if err := c.meta.Withdraw(c.ctx, "r1", 1); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		first := c.open(attachRequest("l", "a", c.routers[0]))
		if time.Since(began) > 10*c.commit {
			t.Error("a router that has withdrawn was waited for")
		}
		restart(2)
		c.routers[1].stop() // killed, this time
		restart(3)
		began = time.Now()
		second := c.open(attachRequest("m", "b", c.routers[0]))
		if time.Since(began) < simLease/2 {
			t.Error("a killed router may still have had a lease")
		}
		for _, id := range []uint64{first.Sub, second.Sub} {
			if s, _ := c.machine().Subscription(id); len(s.Gaps) != 0 {
				t.Errorf("gaps: %+v", s.Gaps)
			}
		}
	})
}

func TestWhatCanNotBeSubscribedTo(t *testing.T) {
	inCluster(t, 1, func(c *Config) { c.MaxSubscriptions = 1 }, func(t *testing.T, c *cluster) {
		for name, x := range map[string]struct {
			change    func(*peer.OpenRequest)
			condition amqp.Symbol
			text      string
		}{
			"no name":      {func(in *peer.OpenRequest) { in.LinkName = "" }, amqp.ErrCondInvalidField, "no name"},
			"no address":   {func(in *peer.OpenRequest) { in.Address = "" }, amqp.ErrCondInvalidField, "no address"},
			"ours":         {func(in *peer.OpenRequest) { in.Address = "$waypoint/meta" }, amqp.ErrCondNotAllowed, "routers"},
			"long address": {func(in *peer.OpenRequest) { in.Address = strings.Repeat("x", 2000) }, amqp.ErrCondInvalidField, "2000 bytes"},
			"policy":       {func(in *peer.OpenRequest) { in.Terminus.ExpiryPolicy = "soon" }, amqp.ErrCondInvalidField, "soon"},
			"no router":    {func(in *peer.OpenRequest) { in.Router = "" }, amqp.ErrCondInvalidField, "router"},
		} {
			in := attachRequest("l", "a", c.routers[0])
			x.change(&in)
			_, err := ask[peer.OpenResponse](c.sim, c.client, peer.OpOpen, in)
			t.Logf("%s: %v", name, err)
			wantRefused(t, err, x.condition, x.text)
		}
		c.open(attachRequest("l", "a", c.routers[0]))
		_, err := ask[peer.OpenResponse](c.sim, c.client, peer.OpOpen, attachRequest("m", "a", c.routers[0]))
		wantRefused(t, err, amqp.ErrCondResourceLimitExceeded, "no more are allowed")
		c.open(attachRequest("l", "a", c.routers[0]))
	})
}

// Every node compares its configuration with what the cluster was made with, not only the one that leads.
func TestAnotherConfigurationIsSaidLoudly(t *testing.T) {
	var mu sync.Mutex
	var said strings.Builder
	nodes := 0
	config := func(c *Config) {
		if nodes++; nodes == 2 {
			c.Seed.Shards = 5
			c.Seed.Policy.Addresses = []peer.AddressPolicy{{Pattern: "a/#", AllowReject: true}}
			c.Logger = slog.New(slog.NewTextHandler(logWriter(func(b []byte) { mu.Lock(); said.Write(b); mu.Unlock() }), nil))
		}
	}
	inCluster(t, 0, config, func(t *testing.T, c *cluster) {
		c.until("it is seeded", func() bool { _, seeded := c.machine().Feature(); return seeded })
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		for _, want := range []string{`\"a/#\" is only here`, "configured=5 in-force=3"} {
			if !strings.Contains(said.String(), want) {
				t.Errorf("%q is not in the log:\n%s", want, said.String())
			}
		}
		if strings.Count(said.String(), "level=WARN") != 2 {
			t.Errorf("%s", said.String())
		}
	})
}

type logWriter func([]byte)

func (w logWriter) Write(b []byte) (int, error) { w(b); return len(b), nil }
