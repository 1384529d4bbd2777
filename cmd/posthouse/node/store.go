package node

import (
	"github.com/posthouse/posthouse/router"
	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/agent"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// store makes an agent the router's Store. All it does is to say the same with the other package's types.
type store struct{ agent *agent.Agent }

var _ router.Store = store{}

func (s store) Admit(address string) router.Admission {
	a := s.agent.Admit(address)
	return router.Admission{Kind: admissionKinds[a.Verdict], Err: a.Err}
}

var admissionKinds = [...]router.AdmissionKind{
	agent.Direct: router.Direct, agent.Captured: router.Captured, agent.Withhold: router.Withhold, agent.Refuse: router.Refuse,
}

func (s store) OnPressure(f func()) { s.agent.OnPressure(f) }

func (s store) Pressure(address string) router.Pressure {
	p := s.agent.Pressure(address)
	if p.Level == peer.LevelOK {
		return router.Pressure{}
	}
	return router.Pressure{Level: min(router.PressureLevel(p.Level), router.PressureFull), Reason: p.Reason.String()}
}

func (s store) OnChange(f func()) { s.agent.OnChange(f) }

func (s store) Publish(p router.Publish) {
	s.agent.Publish(agent.Publish{Address: p.Address, Payload: p.Payload, Settled: p.Settled, Receipt: receipt{p.Receipt}})
}

type receipt struct{ router.Receipt }

func (r receipt) Answered(a agent.Answer) {
	r.Receipt.Answered(router.Answer{Kind: answerKinds[a.Kind], Err: a.Err})
}

var answerKinds = [...]router.AnswerKind{
	agent.KeptAnswer: router.Kept, agent.NoViewAnswer: router.NoView, agent.RefusedAnswer: router.Refused, agent.UnknownAnswer: router.Unknown,
}

func (s store) Subscribe(r router.SubscribeRequest, c router.Consumer) router.Subscription {
	request := agent.SubscribeRequest{Owner: r.Owner, ContainerID: r.ContainerID, LinkName: r.LinkName, Lookup: r.Lookup, Properties: r.Properties}
	if r.Source != nil {
		request.Source, request.Address = *r.Source, r.Source.Address
	}
	return subscription{s.agent.Subscribe(request, consumer{c})}
}

type subscription struct{ *agent.Subscription }

func (s subscription) Credit(seen uint64, n uint32, drain bool) { s.CreditAt(seen, n, drain) }

func (s subscription) Outcome(h router.Handle, state amqp.DeliveryState) {
	s.Subscription.Outcome(agent.Handle(h), state)
}

func (s subscription) Detach(e router.Ending, done func(*amqp.Error)) {
	s.Subscription.Detach(agent.Ending{Closed: e.Closed, Mistaken: e.Mistaken, Event: agent.Event(e.Event)}, done)
}

func (s subscription) Later(e router.Event) { s.Subscription.Later(agent.Event(e)) }

// consumer makes a router's link what the agent calls.
type consumer struct{ router.Consumer }

func (c consumer) Attached(i agent.SubscriptionInfo) {
	c.Consumer.Attached(router.SubscriptionInfo{Name: i.Name, Source: i.Source, Properties: i.Properties})
}

func (c consumer) Deliver(d agent.Stored) {
	out := router.Stored{Handle: router.Handle(d.Handle), Address: d.Address, Payload: d.Payload, Lent: d, Redelivered: !d.FirstAcquirer}
	if d.Gap != nil {
		out.Gap = &router.Gap{Address: d.Gap.Address, Shard: d.Gap.Shard, Messages: d.Gap.Messages, Causes: d.Gap.Causes, Unknown: d.Gap.Unknown}
		for _, r := range d.Gap.Ranges {
			out.Gap.Ranges = append(out.Gap.Ranges, router.GapRange(r))
		}
	}
	c.Consumer.Deliver(out)
}

func (c consumer) Settled(handles []agent.Handle) {
	out := make([]router.Handle, len(handles))
	for i, h := range handles {
		out[i] = router.Handle(h)
	}
	c.Consumer.Settled(out)
}

func (c consumer) State(s agent.SubscriptionState) {
	c.Consumer.State(router.SubscriptionState{Backlog: s.Messages, Properties: s.FlowProperties()})
}
