package meta

import (
	"maps"
	"slices"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// register makes a router's incarnation known, or takes back that its lease has run out: it may get one again. Links that
// were taken as gone with it are there again.
func (o *register) apply(a *application) Outcome {
	r := a.routers[o.holder]
	if r == nil {
		r = &Router{Name: o.holder.Router, Boot: o.holder.Boot}
	}
	if r.Registered != 0 && r.Lost == 0 {
		return Outcome{}
	}
	back := *r
	back.Registered, back.Lost, back.Seen = a.index, 0, a.time
	a.routers[o.holder] = &back
	a.touchRouter(o.holder)
	for _, id := range a.heldBy(o.holder) {
		if s := a.subs[id]; s.LeftBy == RouterLost {
			a.change(id, func(s *Subscription) { s.Left, s.LeftBy = 0, 0 })
		}
	}
	return Outcome{}
}

// lost says that a router's lease has run out. From here on subscriptions become active without it.
func (o *lost) apply(a *application) Outcome {
	r := a.routers[o.holder]
	if r == nil {
		return Outcome{Fit: Missing}
	}
	if r.Lost != 0 {
		return Outcome{}
	}
	gone := *r
	gone.Lost, gone.Seen = a.index, a.time
	a.routers[o.holder] = &gone
	a.touchRouter(o.holder)
	for _, id := range a.heldBy(o.holder) {
		if s := a.subs[id]; s.Left == 0 {
			a.change(id, func(s *Subscription) { s.Left, s.LeftBy = a.time, RouterLost })
		}
	}
	return Outcome{}
}

// heldBy lists the subscriptions whose newest link is or was at a router. The order matters to nobody but the reader of a
// test: every replica must do the same, not in the same order.
func (a *application) heldBy(h Holder) []uint64 { return slices.Sorted(maps.Keys(a.held[h])) }

// forget drops an incarnation that has been lost for long. What it would still report stays unknown.
func (o *forget) apply(a *application) Outcome {
	r := a.routers[o.holder]
	if r == nil {
		return Outcome{}
	}
	if r.Lost == 0 {
		return Outcome{Fit: Late}
	}
	delete(a.routers, o.holder)
	a.touchRouter(o.holder)
	return Outcome{}
}

// isolated takes a router's report of what it let through without a lease. Two kinds of subscriptions learn how many messages
// at most have passed them by: those that became active without this router, and those on an address that it reports, for a
// router that has just started lets messages through before anybody knows of it. Reports of earlier times than the one in
// question, and of later ones, add to that: which one it is nobody can tell, and too much is true where too little is not.
func (o *isolated) apply(a *application) Outcome {
	r := a.routers[o.holder]
	if r == nil {
		return Outcome{Fit: Missing}
	}
	if o.period <= r.Periods {
		return Outcome{Fit: Late} // told before
	}
	told := *r
	told.Periods = o.period
	all, counts := o.other, make(map[string]uint64, len(o.counts))
	for _, c := range o.counts {
		all += c.Messages
		counts[c.Address] += c.Messages
	}
	told.Messages += all
	a.routers[o.holder] = &told
	a.touchRouter(o.holder)
	a.header.isolated += all
	a.header.reports++
	a.headerChanged = true

	concerned := maps.Clone(a.gapsOf[o.holder])
	for address := range counts {
		for id := range a.onAddress[address] {
			if concerned == nil {
				concerned = map[uint64]struct{}{}
			}
			concerned[id] = struct{}{}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(concerned)) {
		a.change(id, func(s *Subscription) {
			s.Gaps = addGap(s.Gaps, o.holder, counts[s.Address], o.other, told.Lost == 0)
		})
	}
	return Outcome{}
}

// heard keeps what a subscriber knows of what it has missed. Of what it can't know yet nothing is taken as heard.
func (o *heard) apply(a *application) Outcome {
	s := a.subs[o.id]
	if s == nil || s.State == Removing {
		return Outcome{Fit: Missing}
	}
	now := s.Missed()
	known := s.Heard.Join(peer.Missed{AtMost: min(o.missed.AtMost, now.AtMost), Unknown: o.missed.Unknown})
	if known != s.Heard {
		a.change(o.id, func(s *Subscription) { s.Heard = known })
	}
	return Outcome{}
}

// maxGaps bounds the routers that a subscription remembers one by one. What older ones have reported is added up, without a
// name.
const maxGaps = 32

// addGap adds a report. Others, to addresses that are not named, count for a subscription that has a gap of this router
// already. The router is back, or another report is still to come.
func addGap(gaps []IsolatedGap, h Holder, messages, others uint64, back bool) []IsolatedGap {
	gaps = slices.Clone(gaps)
	i := slices.IndexFunc(gaps, func(g IsolatedGap) bool { return g.Holder == h })
	if i < 0 {
		gaps = append(gaps, IsolatedGap{Holder: h, Known: back, AtMost: messages})
	} else {
		gaps[i].AtMost += messages + others
		gaps[i].Known = gaps[i].Known || back
	}
	for len(gaps) > maxGaps {
		first := slices.IndexFunc(gaps, func(g IsolatedGap) bool { return g.Known && g.Holder != Holder{} })
		if first < 0 {
			return gaps // all are still cut off: their number is that of the cluster's routers
		}
		sum := gaps[first].AtMost
		gaps = slices.Delete(gaps, first, first+1)
		if len(gaps) > 0 && gaps[0].Holder == (Holder{}) {
			gaps[0].AtMost += sum
		} else {
			gaps = slices.Insert(gaps, 0, IsolatedGap{Known: true, AtMost: sum})
		}
	}
	return gaps
}
