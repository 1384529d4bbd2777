package router

import (
	"sync"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
)

// MaxCaptured is the largest message that is kept.
const MaxCaptured = 1 << 20

// publisher is a link that brings messages to one address from a client. It grants credit up to a window, and
// again as messages are answered.
type publisher struct {
	router  *Router
	link    *endpoint.Receiver
	address *address

	mu        sync.Mutex
	held      []*delivery // the store said Withhold: in order, nothing overtakes them
	releasing bool        // one of them is being routed
	unknown   int         // messages whose outcome is not known
	ended     bool
	gone      bool     // the link is detached, and the address not given back yet
	withheld  uint32   // of its window
	pressure  Pressure // why
	knows     bool     // it was refused something for that
}

// delivered takes a message. It runs on the reader goroutine of the client's connection.
func (p *publisher) delivered(in *endpoint.Delivery, b *endpoint.Batch) {
	d := &delivery{from: p, ref: in.Ref, settled: in.Settled, format: in.Format, msg: in.Message.Retain(), open: 1}
	var to *amqp.Change
	if p.address.targets().remote {
		to = &p.address.to
	}
	if err := d.scan(to); err != nil {
		// The outcome says what is wrong; the link lives on.
		d.done(rejected, amqp.Errorf(amqp.ErrCondDecodeError, "the message can't be read: %v", err), b)
		return
	}
	var admission Admission
	p.mu.Lock()
	queued := len(p.held) > 0 || p.releasing
	if !queued {
		admission = p.router.store.Admit(p.address.name)
	}
	if queued || admission.Kind == Withhold {
		// What waits is in memory as what is kept is, and for longer.
		full := p.router.memory.refuses()
		if !full {
			p.held = append(p.held, d)
		}
		p.mu.Unlock()
		switch {
		case full:
			p.refused()
			d.done(rejected, errNoMemory, b)
		case !queued:
			p.router.metrics.withheld.Inc()
			p.router.held.add(p)
		}
		return
	}
	p.mu.Unlock()
	p.route(d, admission, b)
}

// release routes what was held, as far as the store lets it, and returns whether something is still held. Only the
// router's one goroutine for this calls it.
func (p *publisher) release() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.held) > 0 {
		admission := p.router.store.Admit(p.address.name)
		if admission.Kind == Withhold {
			return true
		}
		d := p.held[0]
		p.held[0] = nil
		p.held = p.held[1:]
		// While it is routed without the lock, nothing that comes in may overtake it.
		p.releasing = true
		p.mu.Unlock()
		p.route(d, admission, nil)
		p.mu.Lock()
		p.releasing = false
	}
	p.held = nil
	p.letGoLocked()
	return false
}

func (p *publisher) route(d *delivery, admission Admission, b *endpoint.Batch) {
	switch {
	case admission.Kind == Refuse:
		p.refused() // before its credit is given anew
		d.done(rejected, admission.Err, b)
	case admission.Kind == Captured && p.router.memory.refuses():
		p.refused()
		d.done(rejected, errNoMemory, b)
	case admission.Kind == Captured && len(d.payload) > MaxCaptured:
		d.done(rejected, amqp.Errorf(amqp.ErrCondMessageSizeExceeded, "the message has %d bytes; a durable subscription on %q takes at most %d", len(d.payload), p.address.name, MaxCaptured), b)
	case admission.Kind == Captured:
		d.captured, d.open = true, 2
		p.distribute(d, b)
		p.router.store.Publish(Publish{Address: p.address.name, Payload: d.payload, Settled: d.settled, Receipt: d})
	default:
		p.distribute(d, b)
	}
}

// distribute hands a copy to each direct subscriber.
func (p *publisher) distribute(d *delivery, b *endpoint.Batch) {
	for _, o := range p.address.targets().all {
		if o.remote() && d.remoteHead == nil {
			continue // it came to want the address after the message was looked at
		}
		d.begin()
		o.offer(d, b)
	}
	d.distributed(b)
}

// answer tells the publisher what became of a message, and gives it credit for another.
func (p *publisher) answer(d *delivery, v verdict, err *amqp.Error, b *endpoint.Batch) {
	p.router.metrics.outcomes[v].Inc()
	if !d.settled {
		p.link.Settle(d.ref, p.router.state(v, err), b)
	}
	p.link.Grant(1, b)
}

// outcomeUnknown ends the link: so every client sees an unknown outcome instead of a wrong one. A presettled message is
// only counted.
func (p *publisher) outcomeUnknown(settled bool) {
	p.router.metrics.unknown.Inc()
	if settled {
		return
	}
	p.mu.Lock()
	p.unknown++
	n, first := p.unknown, !p.ended
	p.ended = true
	p.mu.Unlock()
	if first {
		err := amqp.Errorf(amqp.ErrCondDetachForced, "the outcome of at least %d messages to %q is unknown: the shard that keeps them can't be asked", n, p.address.name)
		err.Info = map[amqp.Symbol]any{"outcome-unknown": uint32(n)}
		p.link.Detach(true, err)
	}
}

// detached lets go of what is held and unsettled: nobody waits for an outcome, and a client that had none sends again.
// What came presettled goes its way when the store lets it.
func (p *publisher) detached(b *endpoint.Batch) {
	var unsettled []*delivery
	p.mu.Lock()
	p.ended = true
	p.gone = true
	var settled []*delivery
	for _, d := range p.held {
		if d.settled {
			settled = append(settled, d)
		} else {
			unsettled = append(unsettled, d)
		}
	}
	p.held = settled
	p.letGoLocked()
	p.mu.Unlock()
	for _, d := range unsettled {
		d.done(released, nil, b)
	}
}

// letGoLocked gives the address back when the link is gone and nothing of it is held any more.
func (p *publisher) letGoLocked() {
	if p.gone && len(p.held) == 0 && !p.releasing {
		p.router.table.release(p.address)
		p.gone = false // once
	}
}

// heldPublishers are those that wait for the store.
type heldPublishers struct {
	mu   sync.Mutex
	all  map[*publisher]struct{}
	wake chan struct{}
}

func (h *heldPublishers) add(p *publisher) {
	h.mu.Lock()
	h.all[p] = struct{}{}
	h.mu.Unlock()
	h.changed() // the store may have changed its mind in between
}

// changed makes run look again. It never blocks.
func (h *heldPublishers) changed() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// release lets all go on that may.
func (h *heldPublishers) release() {
	h.mu.Lock()
	publishers := make([]*publisher, 0, len(h.all))
	for p := range h.all {
		publishers = append(publishers, p)
	}
	h.mu.Unlock()
	for _, p := range publishers {
		if !p.release() {
			h.mu.Lock()
			p.mu.Lock()
			if len(p.held) == 0 {
				delete(h.all, p)
			}
			p.mu.Unlock()
			h.mu.Unlock()
		}
	}
}
