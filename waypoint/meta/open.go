package meta

import (
	"slices"
	"strings"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// Bounds of names, addresses and capabilities, so that hundreds of subscriptions fit into a message.
const (
	maxText         = 1024
	maxCapabilities = 16
)

// openSubscription attaches a link: it finds the subscription or makes it, waits until it is active and has the limits that
// are asked for, and takes a new generation.
func (r *reign) openSubscription(q *request, in *peer.OpenRequest) {
	if err := checkOpen(in); err != nil {
		r.refuse(q, err)
		return
	}
	in.Identity = canonical(in.Identity)
	r.goOn(q, &opening{in: in})
}

// canonical leaves of an identity what makes it one: with a name, container-id and link name only say who asks.
func canonical(i peer.Identity) peer.Identity {
	if i.Name != "" {
		i.ContainerID, i.LinkName = "", ""
	}
	return i
}

// opening is how far an attach is.
type opening struct {
	in      *peer.OpenRequest
	created bool
	named   bool   // the limits that it names are in force, or were when it was made
	awaits  uint64 // the subscription that it was waiting for
}

func checkOpen(in *peer.OpenRequest) error {
	if err := checkSubscription(in.Identity, in.Address, in.Terminus); err != nil {
		return err
	}
	if in.Router == "" {
		return refusal(amqp.ErrCondInvalidField, "the router is missing")
	}
	return nil
}

func checkSubscription(i peer.Identity, address string, t peer.Terminus) error {
	switch {
	case i.Name == "" && i.LinkName == "":
		return refusal(amqp.ErrCondInvalidField, "the subscription has no name")
	case address == "":
		return refusal(amqp.ErrCondInvalidField, "the source has no address")
	case strings.HasPrefix(address, "$"):
		return refusal(amqp.ErrCondNotAllowed, "%q can't be subscribed to durably: addresses that begin with $ belong to the routers", address)
	}
	for what, text := range map[string]string{"owner": i.Owner, "subscription": i.Name, "container-id": i.ContainerID, "link name": i.LinkName, "address": address} {
		if len(text) > maxText {
			return refusal(amqp.ErrCondInvalidField, "the %s has %d bytes; %d are allowed", what, len(text), maxText)
		}
	}
	if len(t.Capabilities) > maxCapabilities || slices.ContainsFunc(t.Capabilities, func(c string) bool { return len(c) > maxText }) {
		return refusal(amqp.ErrCondInvalidField, "the source has too many capabilities, or too long ones")
	}
	switch t.ExpiryPolicy {
	case "", "link-detach", "session-end", "connection-close", "never":
		return nil
	}
	return refusal(amqp.ErrCondInvalidField, "there is no expiry-policy %q", t.ExpiryPolicy)
}

// goOn takes an attach one step further. It looks at the state anew each time, whatever happened in between.
func (r *reign) goOn(q *request, o *opening) {
	if q.answered {
		return
	}
	if err := r.refused[o.awaits]; err != nil {
		r.refuse(q, err)
		return
	}
	has, coming := r.m.find(o.in.Identity)
	for _, s := range []*Subscription{has, coming} {
		if s != nil && s.Identity.Owner != o.in.Owner {
			r.refuse(q, notYours(s))
			return
		}
	}
	switch {
	case coming != nil:
		r.await(q, o, coming.ID) // another one is about to take its place: ours is decided after that
	case has == nil:
		r.create(q, o, 0)
	case has.State == Creating:
		r.await(q, o, has.ID)
	case has.Address != o.in.Address:
		// JMS: a durable subscription whose topic changes is another one; the old one is unsubscribed. Its backlog goes when
		// the new one is active, not before.
		r.create(q, o, has.ID)
	case !o.named && has.Named != o.in.Limits && o.in.Limits != (peer.Limits{}):
		r.rename(q, o, has)
	case has.LimitsKept != has.LimitsVersion:
		r.await(q, o, has.ID)
	default:
		r.attach(q, o, has)
	}
}

func (r *reign) await(q *request, o *opening, id uint64) {
	o.awaits = id
	r.park(id, q, func() { r.goOn(q, o) })
	r.tend(id)
}

// tend makes sure that somebody works at a subscription that is waited for.
func (r *reign) tend(id uint64) {
	if r.tasks[id] == nil {
		r.post(func() { r.advance(id) })
	}
}

func (r *reign) create(q *request, o *opening, replaces uint64) {
	if r.m.count() >= r.cfg.MaxSubscriptions {
		r.refuse(q, refusal(amqp.ErrCondResourceLimitExceeded, "the cluster has %d subscriptions, and no more are allowed", r.cfg.MaxSubscriptions))
		return
	}
	policy, _ := r.m.Policy()
	limits, _ := Resolve(policy, o.in.Address, o.in.Limits)
	r.make(&create{identity: o.in.Identity, address: o.in.Address, terminus: o.in.Terminus, asked: o.in.Limits, named: o.in.Limits,
		limits: limits, by: "link", replaces: replaces}, func(out Outcome) {
		if out.Fit == Done {
			o.created, o.named, o.awaits = true, true, out.ID
		}
		r.goOn(q, o)
	})
}

// make commits a new subscription and goes to work at it.
func (r *reign) make(c *create, done func(Outcome)) {
	began := time.Now()
	r.do(c, func(out Outcome) {
		if out.Fit == Done {
			r.begun[out.ID] = began
			r.advance(out.ID)
		}
		done(out)
	})
}

// rename puts the limits in force that a link names anew. One that names what the last one named changes nothing, so that
// what the operator has set since then stays.
func (r *reign) rename(q *request, o *opening, s *Subscription) {
	policy, _ := r.m.Policy()
	asked := overlay(s.Asked, o.in.Limits)
	limits, _ := Resolve(policy, s.Address, asked)
	r.do(&setLimits{id: s.ID, asked: asked, named: o.in.Limits, limits: limits}, func(Outcome) {
		o.named = true
		r.advance(s.ID)
		r.goOn(q, o)
	})
}

func (r *reign) attach(q *request, o *opening, s *Subscription) {
	to := Holder{Router: o.in.Router, Boot: o.in.Boot}
	r.do(&attach{id: s.ID, holder: to, terminus: o.in.Terminus}, func(out Outcome) {
		if out.Fit != Done {
			r.goOn(q, o)
			return
		}
		if out.Before != (Holder{}) {
			r.notice(out.Before, s.ID, out.Gen-1, amqp.ErrCondStolen, "the subscription was attached elsewhere")
		}
		now := r.m.sub(s.ID)
		if now == nil {
			now = s
		}
		r.answer(q, peer.OpenResponse{
			Sub: s.ID, Gen: out.Gen, Name: s.Name(), Address: s.Address, Terminus: now.Terminus, Limits: now.Limits,
			Shards: []uint32{r.m.shard(s.Address)}, Created: o.created, Missed: now.Missed(), Heard: now.Heard,
		})
	})
}

// lookup finds without attaching: the null source of a link.
func (r *reign) lookup(q *request, in *peer.LookupRequest) {
	if q.answered {
		return
	}
	has, _ := r.m.find(in.Identity)
	switch {
	case has == nil:
		r.refuse(q, notFound(displayName(in.Identity)))
	case has.Identity.Owner != in.Owner:
		r.refuse(q, notYours(has))
	case has.State == Creating:
		r.park(has.ID, q, func() { r.lookup(q, in) })
		r.tend(has.ID)
	default:
		r.answer(q, peer.LookupResponse{Sub: has.ID, Name: has.Name(), Address: has.Address, Terminus: has.Terminus, Limits: has.Limits,
			Missed: has.Missed(), Heard: has.Heard})
	}
}

// removeSubscription ends a subscription for its link. It is answered when that is committed: its names are free, and whoever
// leads from then on takes the rest of the steps.
func (r *reign) removeSubscription(q *request, in *peer.RemoveRequest) {
	s := r.m.sub(in.Sub)
	switch {
	case s == nil:
		r.answer(q, nil)
	case s.Identity.Owner != in.Owner:
		r.refuse(q, notYours(s))
	default:
		r.commitRemoval(q, s, in.Gen, "unsubscribed")
	}
}

// commitRemoval ends a subscription, whoever asks.
func (r *reign) commitRemoval(q *request, s *Subscription, gen uint64, reason string) {
	r.do(&remove{id: s.ID, gen: gen, reason: reason}, func(out Outcome) {
		if out.Fit == Late {
			r.refuse(q, refusal(amqp.ErrCondStolen, "the subscription %q was attached elsewhere since", s.Name()))
			return
		}
		if gen == 0 { // a link that ends its own subscription knows
			r.tellRemoved(s.ID, out, reason)
		}
		r.log.Info("a durable subscription is being removed", "subscription", s.Name(), "id", s.ID, "address", s.Address, "reason", reason)
		r.answer(q, nil)
		r.advance(s.ID)
	})
}

var events = map[string]Event{"link-detach": LinkDetached, "session-end": SessionEnded, "connection-close": ConnectionClosed}

// leaveSubscription notes that a link is gone.
func (r *reign) leaveSubscription(q *request, in *peer.LeaveRequest) {
	event, ok := events[in.Event]
	if !ok {
		r.refuse(q, refusal(amqp.ErrCondInvalidField, "there is no event %q", in.Event))
		return
	}
	r.do(&leave{id: in.Sub, gen: in.Gen, event: event}, func(Outcome) { r.answer(q, nil) })
}
