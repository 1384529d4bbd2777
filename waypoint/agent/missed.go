package agent

import (
	"context"
	"math"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// The gap with cause `isolated` is meta's to tell, not the shard's: what routers that were cut off let past a subscription
// was never in any log. It joins the shard's gaps here, in properties and in the annotation of a delivery.

// maxEarly bounds the notices that are kept for links that have not joined yet. The answer to the next attach says the same.
const maxEarly = 1024

// missed takes meta's word of what a subscription has missed. It may come before the link does, whose attach was answered
// on another way: so it is kept first, and looked for second.
func (a *Agent) missed(n *peer.MissedNotice) {
	a.mu.Lock()
	if a.early == nil || len(a.early) >= maxEarly {
		a.early = map[uint64]*peer.MissedNotice{}
	}
	a.early[n.Sub] = n
	shards := a.shardList()
	a.mu.Unlock()
	for _, s := range shards {
		for _, sub := range s.linksOf(n.Sub, math.MaxUint64) {
			a.takeEarly(sub)
		}
	}
}

// takeEarly gives a link the last notice of its subscription, if one has come. It stays: older or newer than what the link
// knows, nothing is lost by taking it.
func (a *Agent) takeEarly(s *Subscription) {
	a.mu.Lock()
	n := a.early[s.link.sub]
	a.mu.Unlock()
	if n != nil {
		s.learn(n.Missed, n.Heard)
	}
}

// learn takes what is known now, in whatever order it comes.
func (s *Subscription) learn(missed, heard peer.Missed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	missed, heard = s.missed.Later(missed), s.heard.Join(heard)
	if missed == s.missed && heard == s.heard {
		return
	}
	s.missed, s.heard = missed, heard
	if s.phase == attached {
		s.owed.state = true
		s.shard.markReady(s)
	}
}

// stateNow is what is told of the subscription: the shard's word, and meta's.
func (s *Subscription) stateNow() SubscriptionState {
	st := s.state
	st.GapMessages += s.unheard()
	st.GapTotal += s.missed.AtMost
	st.Isolated, st.IsolatedUnknown = s.missed.AtMost, s.missed.Unknown
	return st
}

func (s *Subscription) unheard() uint64 {
	return s.missed.AtMost - min(s.missed.AtMost, s.heard.AtMost)
}

// sayMissed adds to a delivery what the subscription has missed, if the subscriber has not heard of it and no earlier
// delivery of this link has told it.
func (s *Subscription) sayMissed(st *Stored) {
	if !s.missed.Beyond(s.heard) || !s.missed.Beyond(s.said) {
		return
	}
	s.said = s.missed
	if s.carriers == nil {
		s.carriers = map[uint64]peer.Missed{}
	}
	s.carriers[st.Handle.Seq] = s.missed
	if st.Gap == nil {
		st.Gap = &Gap{Causes: map[string]uint64{}, Address: st.Address, Shard: st.Handle.Shard}
	}
	st.Gap.Unknown = s.missed.Unknown
	if n := s.unheard(); n > 0 {
		st.Gap.Messages += n
		st.Gap.Causes[peer.CauseIsolated.String()] += n
	}
}

// carried: the outcome of a delivery that told what was missed is committed. Accepted, it has been heard; otherwise it is told
// again.
func (s *Subscription) carried(d *delivery) {
	told, ok := s.carriers[d.seq]
	if !ok {
		return
	}
	delete(s.carriers, d.seq)
	if d.outcome.State != peer.Accepted {
		s.said = s.heard
		return
	}
	s.heard = s.heard.Join(told)
	s.owed.state = true
	s.agent.begin(func() {
		ctx, cancel := context.WithTimeout(s.agent.ctx, s.agent.cfg.OpenTimeout)
		defer cancel()
		// If it fails, the next link is told again.
		_ = s.agent.askMeta(ctx, peer.OpHeard, &peer.HeardRequest{Sub: s.link.sub, Missed: told}, nil)
	})
}
