package agent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// Subscribe joins a link to a durable subscription, making that if need be, or looks one up. It returns at once; the answer is the
// consumer's first call.
func (a *Agent) Subscribe(req SubscribeRequest, c Consumer) *Subscription {
	s := &Subscription{agent: a, req: req, consumer: c, size: firstSize, held: map[uint64]*delivery{}}
	if !a.begin(s.open) {
		s.phase = over // closing: there is nobody left to call
	}
	return s
}

// open asks meta for the subscription and joins its shard.
func (s *Subscription) open() {
	ctx, cancel := context.WithTimeout(s.agent.ctx, s.agent.cfg.OpenTimeout)
	defer cancel()
	var err error
	if s.asked, err = parseProperties(s.req.Properties); err != nil {
		s.refuse(err)
		return
	}
	if s.req.Name != "" {
		s.asked.name = s.req.Name
	}
	if s.req.Lookup {
		err = s.lookup(ctx)
	} else {
		err = s.openLink(ctx)
	}
	if err != nil {
		s.refuse(err)
	}
}

func (s *Subscription) identity() peer.Identity {
	return peer.Identity{Owner: s.req.Owner, ContainerID: s.req.ContainerID, LinkName: s.req.LinkName, Name: s.asked.name}
}

func (s *Subscription) openLink(ctx context.Context) error {
	src := &s.req.Source
	address := s.req.Address
	if address == "" {
		address = src.Address
	}
	req := peer.OpenRequest{
		Identity: s.identity(), Address: address,
		Terminus: peer.Terminus{Durable: uint32(src.Durable), ExpiryPolicy: string(src.ExpiryPolicy), Timeout: src.Timeout, Capabilities: symbolStrings(src.Capabilities)},
		Limits:   s.asked.limits, Router: s.agent.cfg.Router, Boot: s.agent.cfg.Boot,
	}
	var r peer.OpenResponse
	if err := s.agent.askMeta(ctx, peer.OpOpen, &req, &r); err != nil {
		return err
	}
	if len(r.Shards) != 1 {
		return amqp.Errorf(amqp.ErrCondNotImplemented, "a subscription in %d shards", len(r.Shards))
	}
	s.info = SubscriptionInfo{Name: r.Name, Source: sourceOf(src, r.Address, &r.Terminus), Limits: limitsOf(&r.Limits), Created: r.Created}
	s.missed, s.heard = r.Missed, r.Heard
	s.expires = r.Terminus.ExpiryPolicy != string(amqp.ExpireNever)
	s.link = link{r.Sub, r.Gen}
	s.join(s.agent.shardOf(r.Shards[0]))
	return nil
}

// join goes on to the shard, unless the link has gone meanwhile.
func (s *Subscription) join(sh *shard) {
	s.mu.Lock()
	s.shard = sh
	gone := s.detached
	if !gone {
		s.phase = joining
	}
	s.mu.Unlock()
	if gone {
		s.leaveUnjoined()
		return
	}
	sh.join(s)
	s.mu.Lock()
	ended := s.phase == over
	s.mu.Unlock()
	s.agent.takeEarly(s)
	if ended {
		sh.drop(s) // detached before it was in the list, so nobody else takes it out
	}
}

func (s *Subscription) lookup(ctx context.Context) error {
	var r peer.LookupResponse
	if err := s.agent.askMeta(ctx, peer.OpLookup, &peer.LookupRequest{Identity: s.identity()}, &r); err != nil {
		return err
	}
	s.mu.Lock()
	s.link = link{sub: r.Sub}
	limits := limitsOf(&r.Limits)
	s.state, s.missed, s.heard = SubscriptionState{Limits: limits}, r.Missed, r.Heard
	s.info = SubscriptionInfo{Name: r.Name, Source: sourceOf(&s.req.Source, r.Address, &r.Terminus), Limits: limits,
		Properties: attachProperties(r.Name, limits, s.stateNow())}
	gone := s.detached
	if !gone {
		s.phase = attached
	}
	info := s.info
	s.mu.Unlock()
	if gone {
		s.leaveUnjoined()
		return nil
	}
	s.consumer.Attached(info)
	return nil
}

// refuse ends a link that never was.
func (s *Subscription) refuse(err error) {
	s.mu.Lock()
	s.phase = over
	gone := s.detached
	s.detached = true
	done := s.done
	s.done = nil
	s.mu.Unlock()
	var e *amqp.Error
	if !errors.As(err, &e) {
		e = amqp.Errorf(amqp.ErrCondInternalError, "%v", err)
	}
	if !gone {
		s.consumer.Refused(e)
	}
	if done != nil {
		done(e)
	}
}

// askMeta asks meta's leader, wherever it is, until ctx ends. The error is one for the client.
func (a *Agent) askMeta(ctx context.Context, op string, req, resp any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	answer, err := a.cfg.Hub.CallLeader(ctx, peer.MetaGroup, op, body)
	var refused *peer.Error
	switch {
	case errors.As(err, &refused):
		e := &amqp.Error{Condition: amqp.Symbol(refused.Condition), Description: refused.Description}
		for k, v := range refused.Info {
			if e.Info == nil {
				e.Info = make(map[amqp.Symbol]any, len(refused.Info))
			}
			e.Info[amqp.Symbol(k)] = v
		}
		return e
	case err != nil:
		a.log.Warn("meta does not answer", "op", op, "error", err)
		return unavailable()
	case resp == nil:
		return nil
	}
	if err := json.Unmarshal(answer, resp); err != nil {
		return amqp.Errorf(amqp.ErrCondInternalError, "meta's answer to %s: %v", op, err)
	}
	return nil
}

func symbolStrings(list []amqp.Symbol) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

// outcomes are those that a subscription supports.
var outcomes = []amqp.Symbol{amqp.OutcomeAccepted, amqp.OutcomeRejected, amqp.OutcomeReleased, amqp.OutcomeModified}

// sourceOf is the source that the link really has (3.5.3): no filters yet, so none are in it.
func sourceOf(asked *amqp.Source, address string, t *peer.Terminus) amqp.Source {
	src := amqp.Source{
		Address: address, Durable: amqp.Durability(t.Durable), ExpiryPolicy: amqp.ExpiryPolicy(t.ExpiryPolicy), Timeout: t.Timeout,
		DistributionMode: amqp.DistributionCopy, DefaultOutcome: asked.DefaultOutcome, Outcomes: slices.Clone(outcomes),
	}
	for _, c := range t.Capabilities {
		src.Capabilities = append(src.Capabilities, amqp.Symbol(c))
	}
	return src
}
