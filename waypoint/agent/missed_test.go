package agent

import (
	"testing"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// notice tells what a subscription has missed, as meta does.
func (w *world) notice(n peer.MissedNotice) {
	w.meta.set(func() {
		w.meta.sessions[0].Send(&n)
		w.meta.sessions[0].Flush()
	})
}

func (c *consumer) last() SubscriptionState {
	c.take()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// What routers that were cut off let past a subscription is told like other gaps: in the attach's answer, in flows, and by
// the first delivery after each news, until a subscriber has confirmed one that told it.
func TestG02WhatWasMissedIsTold(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.led()
		w.wait("a lease", func() bool { return w.agent.lease.is() == leased })
		w.meta.missed = peer.Missed{Unknown: 1}
		s, c := w.subscribe(request())
		if p := c.info.Properties; p[PropertyGapIsolatedUnknown] != uint64(1) || p[PropertyGapIsolated] != uint64(0) {
			t.Errorf("the attach's answer says %v", p)
		}
		w.shard.fill(100, 9)
		c.allow(s, 2, false)
		want(t, c.take(), "attached", "deliver 1", "deliver 2")
		if g := c.got[0].Gap; g == nil || g.Messages != 0 || g.Unknown != 1 || len(g.Causes) != 0 {
			t.Errorf("the first delivery tells %+v", g)
		}
		if g := c.got[1].Gap; g != nil {
			t.Errorf("the second tells %+v again", g)
		}

		w.notice(peer.MissedNotice{Sub: 100, Missed: peer.Missed{AtMost: 7}})
		if st := c.last(); st.GapMessages != 7 || st.GapTotal != 7 || st.Isolated != 7 || st.IsolatedUnknown != 0 {
			t.Errorf("the router is back: %+v", st)
		}
		accept(s, c.got...)
		want(t, c.take(), "settled 1", "settled 2")
		c.allow(s, 1, false)
		want(t, c.take(), "deliver 3")
		if g := c.got[2].Gap; g == nil || g.Messages != 7 || g.Causes["isolated"] != 7 || g.Unknown != 0 {
			t.Errorf("what is known now is told as %+v", g)
		}
		s.Outcome(c.got[2].Handle, amqp.Released{})
		c.allow(s, 1, false)
		c.take()
		if g := c.got[3].Gap; g == nil || g.Messages != 7 {
			t.Errorf("it was released, and then the next tells %+v", g)
		}
		accept(s, c.got[3])
		if st := c.last(); st.GapMessages != 0 || st.GapTotal != 7 {
			t.Errorf("it was heard: %+v", st)
		}
		w.wait("meta knows that it was heard", func() bool {
			w.meta.mu.Lock()
			defer w.meta.mu.Unlock()
			return len(w.meta.heard) == 2
		})
		if h := w.meta.heard; h[0] != (peer.HeardRequest{Sub: 100, Missed: peer.Missed{Unknown: 1}}) || h[1] != (peer.HeardRequest{Sub: 100, Missed: peer.Missed{AtMost: 7}}) {
			t.Errorf("meta is told that these were heard: %+v", h)
		}
	})
}

// A notice may overtake the answer to the attach, which is older then.
func TestAnEarlyNoticeIsKept(t *testing.T) {
	run(t, Config{}, func(t *testing.T, w *world) {
		w.led()
		w.wait("a lease", func() bool { return w.agent.lease.is() == leased })
		w.meta.missed = peer.Missed{Unknown: 1}
		w.notice(peer.MissedNotice{Sub: 100, Missed: peer.Missed{AtMost: 7}})
		pass(time.Second)
		_, c := w.subscribe(request())
		if st := c.info.State; st.Isolated != 7 || st.IsolatedUnknown != 0 {
			t.Errorf("%+v", st)
		}
		_, c = w.subscribe(SubscribeRequest{Owner: "alice", ContainerID: "c1", LinkName: "l1", Lookup: true})
		if p := c.info.Properties; p[PropertyGapIsolatedUnknown] != uint64(1) {
			t.Errorf("a lookup says %v", p)
		}
	})
}
