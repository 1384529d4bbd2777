package meta

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// createSubscription makes a subscription without a link, for an operator. To ask again for one that is there, at the same
// address, is a success.
func (r *reign) createSubscription(q *request, in *CreateRequest) {
	i := peer.Identity{Owner: in.Owner, Name: in.Name}
	terminus := in.Terminus
	if terminus.Durable == 0 && terminus.ExpiryPolicy == "" {
		terminus.Durable, terminus.ExpiryPolicy = 2, "never"
	}
	if in.Name == "" {
		r.refuse(q, refusal(amqp.ErrCondInvalidField, "the subscription has no name"))
		return
	}
	if err := checkSubscription(i, in.Address, terminus); err != nil {
		r.refuse(q, err)
		return
	}
	policy, _ := r.m.Policy()
	limits, adjusted := Resolve(policy, in.Address, in.Limits)
	if len(adjusted) > 0 {
		r.refuse(q, overCap(adjusted))
		return
	}
	c := &create{identity: i, address: in.Address, terminus: terminus, asked: in.Limits, limits: limits, by: "operator"}
	r.goOnCreating(q, c, 0)
}

func (r *reign) goOnCreating(q *request, c *create, awaits uint64) {
	if q.answered {
		return
	}
	if err := r.refused[awaits]; err != nil {
		r.refuse(q, err)
		return
	}
	has, coming := r.m.find(c.identity)
	if coming != nil {
		has = coming
	}
	switch {
	case has == nil && r.m.count() >= r.cfg.MaxSubscriptions:
		r.refuse(q, refusal(amqp.ErrCondResourceLimitExceeded, "the cluster has %d subscriptions, and no more are allowed", r.cfg.MaxSubscriptions))
	case has == nil:
		r.make(c, func(out Outcome) { r.goOnCreating(q, c, out.ID) })
	case has.Identity.Owner != c.identity.Owner:
		r.refuse(q, notYours(has))
	case has.Address != c.address:
		r.refuse(q, refusal(amqp.ErrCondPreconditionFailed, "the subscription %q is on the address %q already", has.Name(), has.Address))
	case has.State == Creating:
		r.park(has.ID, q, func() { r.goOnCreating(q, c, has.ID) })
		r.tend(has.ID)
	default:
		r.answer(q, r.info(has))
	}
}

// resolve finds whom an operator means.
func (r *reign) resolve(ref Ref) (*Subscription, error) {
	if ref.ID != 0 {
		s := r.m.sub(ref.ID)
		switch {
		case s == nil:
			return nil, notFound(fmt.Sprintf("with the id %d", ref.ID))
		case !ref.AnyOwner && s.Identity.Owner != ref.Owner:
			return nil, notYours(s)
		}
		return s, nil
	}
	list := r.m.named(ref.Name)
	if len(list) == 0 {
		return nil, notFound(fmt.Sprintf("called %q", ref.Name))
	}
	if !ref.AnyOwner {
		mine := slices.DeleteFunc(slices.Clone(list), func(s *Subscription) bool { return s.Identity.Owner != ref.Owner })
		if len(mine) == 0 {
			return nil, notYours(list[0])
		}
		list = mine
	}
	if len(list) > 1 {
		ids := make([]uint64, len(list))
		for i, s := range list {
			ids[i] = s.ID
		}
		return nil, refusal(amqp.ErrCondPreconditionFailed, "%d subscriptions are called %q; name one by its id: %v", len(list), ref.Name, ids)
	}
	return list[0], nil
}

// changeLimits is answered when the shard has them.
func (r *reign) changeLimits(q *request, in *SetRequest) {
	s, err := r.resolve(in.Ref)
	if err != nil {
		r.refuse(q, err)
		return
	}
	if s.State == Removing {
		r.refuse(q, refusal(amqp.ErrCondResourceDeleted, "the subscription %q is being removed", s.Name()))
		return
	}
	policy, _ := r.m.Policy()
	asked := overlay(s.Asked, in.Limits)
	limits, adjusted := Resolve(policy, s.Address, asked)
	// What was adjusted before stays adjusted; what is asked for now must be allowed.
	adjusted = slices.DeleteFunc(adjusted, func(a Adjustment) bool { return !names(in.Limits, a.Limit) })
	if len(adjusted) > 0 {
		r.refuse(q, overCap(adjusted))
		return
	}
	r.do(&setLimits{id: s.ID, asked: asked, named: s.Named, limits: limits}, func(out Outcome) {
		if out.Fit != Done {
			r.refuse(q, refusal(amqp.ErrCondResourceDeleted, "the subscription %q is being removed", s.Name()))
			return
		}
		r.awaitLimits(q, s.ID)
		r.advance(s.ID)
	})
}

func names(l peer.Limits, limit string) bool {
	switch limit {
	case "max-messages":
		return l.MaxMessages != 0
	case "max-bytes":
		return l.MaxBytes != 0
	case "max-age":
		return l.MaxAgeMS != 0
	case "max-in-flight":
		return l.MaxInFlight != 0
	}
	return l.Overflow != peer.OverflowDefault
}

func (r *reign) awaitLimits(q *request, id uint64) {
	s := r.m.sub(id)
	switch {
	case s == nil:
		r.refuse(q, refusal(amqp.ErrCondResourceDeleted, "the subscription was removed"))
	case s.State == Active && s.LimitsKept == s.LimitsVersion:
		r.answer(q, r.info(s))
	default:
		r.park(id, q, func() { r.awaitLimits(q, id) })
	}
}

func (r *reign) drop(q *request, in *Ref) {
	s, err := r.resolve(*in)
	if err != nil {
		r.refuse(q, err)
		return
	}
	r.commitRemoval(q, s, 0, "removed by an operator")
}

// changePolicy is answered when every router that has a lease treats publishes by the new policy.
func (r *reign) changePolicy(q *request, in *PolicyRequest) {
	raw := policyJSON(&in.Policy)
	if len(raw) > maxPolicy {
		r.refuse(q, refusal(amqp.ErrCondInvalidField, "the policy has %d bytes; %d are allowed", len(raw), maxPolicy))
		return
	}
	if _, err := peer.ParsePolicy(raw); err != nil {
		r.refuse(q, refusal(amqp.ErrCondInvalidField, "%v", err))
		return
	}
	r.do(&setPolicy{raw}, func(Outcome) {
		r.whenConfirmed(r.m.Epoch(), func() { r.answer(q, nil) })
	})
}

// maxPolicy bounds a policy as JSON: it goes to every router, and into an entry.
const maxPolicy = 256 << 10

// takeReport notes what a router has let through without a lease.
func (r *reign) takeReport(q *request, in *peer.IsolatedReport) {
	o := &isolated{holder: Holder{Router: in.Router, Boot: in.Boot}, period: in.Period, other: in.Other}
	o.counts = boundReport(in.Counts, &o.other)
	r.do(o, func(out Outcome) {
		if out.Fit == Missing {
			r.refuse(q, &peer.UnavailableError{Text: "the router is not registered"})
			return
		}
		r.log.Warn("a router reports what it let through while it was isolated", "router", in.Router, "boot", in.Boot, "period", in.Period,
			"from", time.UnixMilli(in.From), "until", time.UnixMilli(in.Until), "addresses", len(in.Counts), "others", in.Other)
		r.answer(q, nil)
		for _, s := range r.m.missedBy(o.holder) {
			r.tellMissed(s)
		}
	})
}

// maxReported bounds the bytes of a report's addresses in the log.
const maxReported = 256 << 10

// boundReport leaves out what is too much, the lowest numbers, so that as little as possible is said to concern everybody.
func boundReport(counts []peer.IsolatedAddress, other *uint64) []peer.IsolatedAddress {
	counts = slices.Clone(counts)
	slices.SortStableFunc(counts, func(a, b peer.IsolatedAddress) int { return cmp.Compare(b.Messages, a.Messages) })
	var kept []peer.IsolatedAddress
	bytes := 0
	for _, c := range counts {
		if size := len(c.Address) + 16; len(c.Address) > maxText || bytes+size > maxReported {
			*other += c.Messages
		} else {
			kept = append(kept, c)
			bytes += size
		}
	}
	return kept
}

// Bounds of one page.
const (
	maxPage      = 500
	maxPageBytes = 1 << 20
	statsTime    = 3 * time.Second
)

func (r *reign) listSubscriptions(q *request, in *ListRequest) {
	var subs []*Subscription
	out := ListResponse{Subscriptions: []Info{}}
	if in.Ref != nil {
		s, err := r.resolve(*in.Ref)
		if err != nil {
			r.refuse(q, err)
			return
		}
		subs = []*Subscription{s}
	} else {
		limit := in.Limit
		if limit <= 0 || limit > maxPage {
			limit = maxPage
		}
		page := r.m.Subscriptions(in.After, limit)
		if len(page) == limit {
			out.Next = page[limit-1].ID
		}
		for i, bytes := 0, 0; i < len(page); i++ {
			s := &page[i]
			if bytes > maxPageBytes {
				out.Next = page[i-1].ID
				break
			}
			if in.AnyOwner || s.Identity.Owner == in.Owner {
				subs = append(subs, s)
				bytes += 1024 + len(s.Address) + 2*len(s.Name()) + len(s.Identity.Owner)
			}
		}
	}
	for _, s := range subs {
		out.Subscriptions = append(out.Subscriptions, r.info(s))
	}
	if !in.Stats || len(subs) == 0 {
		r.answer(q, out)
		return
	}
	r.wg.Go(func() {
		addStats(r.ctx, r.cfg.Shards, out.Subscriptions)
		r.post(func() { r.answer(q, out) })
	})
}

// addStats asks each shard once, all at the same time.
func addStats(ctx context.Context, shards Shards, list []Info) {
	ctx, cancel := context.WithTimeout(ctx, statsTime)
	defer cancel()
	by := map[uint32][]uint64{}
	for _, i := range list {
		by[i.Shard] = append(by[i.Shard], i.ID)
	}
	type answer struct {
		shard uint32
		stats []peer.CursorStats
		err   error
	}
	answers := make(chan answer, len(by))
	for shard, ids := range by {
		go func() {
			stats, err := shards.Stats(ctx, shard, ids)
			answers <- answer{shard, stats, err}
		}()
	}
	got, failed := map[uint64]*peer.CursorStats{}, map[uint32]error{}
	for range by {
		a := <-answers
		failed[a.shard] = a.err
		for i := range a.stats {
			got[a.stats[i].Sub] = &a.stats[i]
		}
	}
	for i := range list {
		if list[i].Stats = got[list[i].ID]; list[i].Stats != nil {
			// meta hears of the end of a link only if a timeout depends on it.
			list[i].Router = list[i].Stats.Router
		} else {
			list[i].StatsError = "the shard has no cursor of it"
			if err := failed[list[i].Shard]; err != nil {
				list[i].StatsError = err.Error()
			}
		}
	}
}

func (r *reign) info(s *Subscription) Info {
	i := Info{
		ID: s.ID, Name: s.Name(), Owner: s.Identity.Owner, ContainerID: s.Identity.ContainerID, LinkName: s.Identity.LinkName,
		Address: s.Address, Shard: r.m.shard(s.Address), State: s.State.String(), Reason: s.Reason, Terminus: s.Terminus,
		Limits: s.Limits, Asked: s.Asked, LimitsAt: s.LimitsKept == s.LimitsVersion, Generation: s.Gen, Left: s.Left,
		Created: s.Created, CreatedBy: s.CreatedBy, Missed: s.Missed(), Heard: s.Heard,
	}
	if s.Left == 0 {
		i.Router = s.Holder.Router
	}
	return i
}

func (r *reign) status() Status {
	now := time.Now()
	st := Status{Term: r.term, Epoch: r.m.Epoch(), Captures: r.m.captureCount(), Subscriptions: map[string]int{}, Waiting: len(r.waits)}
	st.Feature, _ = r.m.Feature()
	st.IsolatedMessages, st.IsolatedReports = r.m.Isolated()
	for state, n := range r.m.Counts() {
		st.Subscriptions[state.String()] = n
	}
	for _, known := range r.m.Routers() {
		rs := RouterStatus{Name: known.Name, Boot: known.Boot, Lost: known.Lost != 0, IsolatedPeriods: known.Periods, IsolatedMessages: known.Messages}
		if t := r.seats[known.Holder()]; t != nil {
			rs.Connected, rs.Confirmed = t.session != nil, t.confirmed
			rs.LeaseMS = max(0, t.until.Sub(now).Milliseconds())
		}
		st.Routers = append(st.Routers, rs)
	}
	return st
}
