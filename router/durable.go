package router

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
)

// Link properties and annotations that clients meet.
const (
	PropSubscription amqp.Symbol = "posthouse:subscription"
	propOnClose      amqp.Symbol = "posthouse:on-close"
	AnnotationGap    amqp.Symbol = "x-opt-posthouse-gap"
)

// durable is a client's link on a durable subscription: it joins what the store says (Consumer) to what the client
// says (endpoint.Sender), and keeps nothing itself but the deliveries that wait for their settlement.
type durable struct {
	router    *Router
	link      *endpoint.Sender
	request   SubscribeRequest
	presettle bool // the client wants no settlement: what is sent is confirmed

	mu       sync.Mutex
	sub      Subscription // nil before begin, and after the end
	attached bool
	over     bool
	seen     uint64                      // calls of Deliver
	head     []byte                      // scratch of sendLocked
	waiting  []Stored                    // what came on credit that the client has taken back
	second   map[Handle]endpoint.SendRef // outcomes told, to be settled when they are committed (mode second)
}

func newDurable(r *Router, l *endpoint.Sender, remote *amqp.Attach) *durable {
	d := &durable{router: r, link: l, request: SubscribeRequest{
		Owner: owner(l.Conn()), ContainerID: l.Conn().Remote().ContainerID, LinkName: l.Name(),
		Lookup: remote.Source == nil, Source: remote.Source, Properties: remote.Properties, Capabilities: remote.DesiredCapabilities,
	}}
	d.presettle = remote.SndSettleMode == amqp.SenderSettled
	if remote.RcvSettleMode == amqp.ReceiverSecond {
		d.second = map[Handle]endpoint.SendRef{}
	}
	l.SetData(d)
	for _, data := range []any{l.Session().Data(), l.Conn().Data()} {
		if before, ok := data.(*left); ok {
			before.back(d.leftKey())
		}
	}
	return d
}

// owner is the user that the client has logged in as.
func owner(c *endpoint.Conn) string {
	if id := c.Identity(); id != "" {
		return id
	}
	return Anonymous
}

// Anonymous owns what clients make that have not logged in.
const Anonymous = "anonymous"

func (d *durable) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	// The store calls back only after Subscribe has returned, and then finds mu taken until sub is set.
	d.sub = d.router.store.Subscribe(d.request, d)
	d.router.metrics.durableLinks.Inc()
}

// Attached answers the client: the subscription is there, and is like this.
func (d *durable) Attached(info SubscriptionInfo) {
	answer := d.link.Answer()
	source := info.Source
	answer.Source = &source
	answer.Properties = info.Properties
	answer.OfferedCapabilities = offered(d.link.Remote().DesiredCapabilities)
	d.mu.Lock()
	over := d.over
	d.attached = !over
	d.mu.Unlock()
	if over || !d.link.Accept(answer) {
		return // Detached has told, or will tell, the store
	}
	d.credit()
}

// Refused answers the client with the reason.
func (d *durable) Refused(err *amqp.Error) {
	d.end()
	d.link.Refuse(err)
}

// Ended ends the client's link: with closed=true, since some clients know no other detach.
func (d *durable) Ended(err *amqp.Error) {
	d.end()
	if !d.link.Refuse(err) {
		d.link.Detach(true, err)
	}
}

// end makes sure that nothing more is told to the store.
func (d *durable) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sub, d.over = nil, true
}

func (d *durable) subscription() Subscription {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sub
}

// Deliver sends a message to the client. The store keeps within the credit that it was told of; if the client has taken
// some back meanwhile, the message waits for the next.
func (d *durable) Deliver(m Stored) {
	d.mu.Lock()
	d.seen++
	if len(d.waiting) > 0 || !d.sendLocked(&m) {
		d.waiting = append(d.waiting, m)
	}
	d.mu.Unlock()
}

// sendLocked sends a message, or says that there is no credit for it.
func (d *durable) sendLocked(m *Stored) bool {
	message := endpoint.LendMessage(m.Payload, m.Lent)
	out := endpoint.Outgoing{Message: message, Settled: d.presettle, HoldSettle: d.second != nil, Cookie: m.Handle}
	var err error
	if d.head, out.Tail, err = storedHead(d.head[:0], m); err == nil {
		out.Prefix = d.head
		_, err = d.link.Send(&out, nil)
	}
	if errors.Is(err, endpoint.ErrNoCredit) {
		return false // and the payload stays lent
	}
	message.Release()
	var state amqp.DeliveryState
	switch {
	case err == nil:
		d.router.metrics.durable.Inc()
		if !d.presettle {
			return true
		}
		state = amqp.Accepted{}
	case errors.Is(err, endpoint.ErrTooLarge):
		state = amqp.Rejected{Error: amqp.Errorf(amqp.ErrCondMessageSizeExceeded, "the message is larger than the subscriber takes")}
	case errors.Is(err, endpoint.ErrGone):
		state = amqp.Released{}
	default:
		state = amqp.Rejected{Error: amqp.Errorf(amqp.ErrCondDecodeError, "the message can't be read: %v", err)}
	}
	if d.sub != nil {
		d.sub.Outcome(m.Handle, state)
	}
	return true
}

// storedHead appends to b the message's head, which says anew what belongs to this delivery: how often it failed, whether
// it was seen before (a header that says nothing means that it may have been, 3.2.1), and what was given up before it.
func storedHead(b []byte, m *Stored) (head, tail []byte, err error) {
	var s amqp.Sections
	if _, err := s.ScanHead(m.Payload); err != nil {
		return b, nil, err
	}
	h, err := s.Header()
	if err != nil {
		return b, nil, err
	}
	h.DeliveryCount += min(m.Handle.Count, math.MaxUint32-h.DeliveryCount)
	h.FirstAcquirer = !m.Redelivered
	edit := amqp.Edit{Header: &h}
	if m.Gap != nil {
		edit.MessageAnnotations = []amqp.Change{amqp.Set(AnnotationGap, gapValue(m.Gap))}
	}
	head, err = edit.AppendHead(b, &s)
	return head, s.Tail(), err
}

// gapValue is a gap as an annotation: a map that every client can read.
func gapValue(g *Gap) amqp.Map {
	causes := amqp.Map{}
	for _, cause := range slices.Sorted(maps.Keys(g.Causes)) {
		causes = append(causes, amqp.MapEntry{Key: cause, Value: g.Causes[cause]})
	}
	var ranges []any
	for _, r := range g.Ranges {
		ranges = append(ranges, amqp.Map{{Key: "from", Value: r.From}, {Key: "through", Value: r.Through}, {Key: "messages", Value: r.Messages}, {Key: "cause", Value: r.Cause}})
	}
	m := amqp.Map{{Key: "messages", Value: g.Messages}, {Key: "address", Value: g.Address}, {Key: "shard", Value: g.Shard}, {Key: "causes", Value: causes}, {Key: "ranges", Value: ranges}}
	if g.Unknown > 0 {
		m = append(m, amqp.MapEntry{Key: "isolated-unknown", Value: g.Unknown})
	}
	return m
}

// Settled: the outcomes are committed, so a client in mode second may forget its deliveries (2.6.12).
func (d *durable) Settled(handles []Handle) {
	if d.second == nil {
		return
	}
	for _, h := range handles {
		d.mu.Lock()
		ref, ok := d.second[h]
		delete(d.second, h)
		d.mu.Unlock()
		if ok {
			d.link.Settle(ref, nil, nil)
		}
	}
}

// Drained gives the client's credit back.
func (d *durable) Drained() { d.link.Drained(nil) }

// State tells the client of its backlog.
func (d *durable) State(s SubscriptionState) {
	d.link.SetAvailable(uint32(min(s.Backlog, 1<<32-1)), false, nil)
	d.link.SetFlowProperties(s.Properties, nil)
}

// credit hands on the client's credit. It is called on the reader goroutine, and once when the link is attached.
func (d *durable) credit() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.waiting) > 0 && d.sendLocked(&d.waiting[0]) {
		d.waiting = d.waiting[1:]
	}
	if d.sub != nil && d.attached {
		d.sub.Credit(d.seen, d.link.Credit(), d.link.Draining())
	}
}

// outcome hands on what the client made of a delivery.
func (d *durable) outcome(o *endpoint.Outcome) {
	h := o.Cookie.(Handle)
	if !o.Final {
		if amqp.IsOutcome(o.State) { // mode second: it is settled when it is committed
			d.mu.Lock()
			d.second[h] = o.Ref
			d.mu.Unlock()
			d.outcomeOf(h, o.State)
		}
		return
	}
	d.mu.Lock()
	_, told := d.second[h]
	delete(d.second, h)
	d.mu.Unlock()
	switch {
	case told:
	case o.Lost && !o.Sent:
		d.outcomeOf(h, amqp.Released{})
	default:
		switch o.State.(type) {
		case amqp.Accepted, amqp.Rejected, amqp.Released, amqp.Modified:
			d.outcomeOf(h, o.State)
		default:
			d.outcomeOf(h, nil) // lost, or settled without an outcome: the default one (2.6.12)
		}
	}
}

func (d *durable) outcomeOf(h Handle, state amqp.DeliveryState) {
	if sub := d.subscription(); sub != nil {
		sub.Outcome(h, state)
	}
}

// detached ends the store's part, and answers a client that asked for the detach when its outcomes are safe.
func (d *durable) detached(how endpoint.Detached) {
	d.router.metrics.durableLinks.Dec()
	d.mu.Lock()
	sub, waiting := d.sub, d.waiting
	d.sub, d.over, d.waiting = nil, true, nil
	d.mu.Unlock()
	if sub == nil {
		return
	}
	for _, m := range waiting {
		sub.Outcome(m.Handle, amqp.Released{})
	}
	if how.Lost || how.Answer {
		sub.Detach(Ending{Mistaken: true, Event: ConnectionClose}, func(*amqp.Error) {})
		return
	}
	d.link.HoldDetach()
	ending := Ending{Closed: how.Closed, Mistaken: how.Err != nil, Event: LinkDetach}
	sub.Detach(ending, func(err *amqp.Error) { d.link.Detach(how.Closed, err) })
	if s := d.request.Source; s != nil && s.ExpiryPolicy != amqp.ExpireNever && (!ending.Closed || ending.Mistaken || d.keepsOnClose()) {
		leftBy(d.link.Session()).add(d.leftKey(), sub)
	}
}

func (d *durable) keepsOnClose() bool {
	_, ok := d.request.Properties[propOnClose]
	return ok
}

// leftKey names the subscription within the connection, whose owner and container-id are always the same.
func (d *durable) leftKey() string {
	return fmt.Sprint(d.link.Name(), "\x00", d.request.Properties[PropSubscription])
}

// left are the subscriptions whose links have been detached in a session or connection that lives on: when it ends,
// their time-outs may begin.
type left struct{ subs map[string]Subscription }

// maxLeft bounds what a connection remembers of links that it had.
const maxLeft = 256

func leftBy(s *endpoint.Session) *left {
	l, _ := s.Data().(*left)
	if l == nil {
		l = &left{subs: map[string]Subscription{}}
		s.SetData(l)
	}
	return l
}

func (l *left) add(key string, s Subscription) {
	if _, known := l.subs[key]; !known && len(l.subs) >= maxLeft {
		s.Later(ConnectionClose) // it may expire a little early, but nobody can make the node remember without end
		return
	}
	l.subs[key] = s
}

// back forgets a subscription that has a link again.
func (l *left) back(key string) { delete(l.subs, key) }

func (l *left) later(e Event) {
	for _, s := range l.subs {
		s.Later(e)
	}
}
