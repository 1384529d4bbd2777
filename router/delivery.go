package router

import (
	"sync"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
)

// delivery is a message on its way through this router: from one publisher's link to any number of outlets and
// perhaps to the store. It answers the publisher once, and lets go of the bytes when the last copy is done.
//
// Multicast (the rule for outcomes): the publisher is answered at the first `accepted`, or, if the message is
// captured, by the store alone. If nobody accepts, the best of what was said counts: rejected before modified before released.
type delivery struct {
	from    origin
	ref     endpoint.DeliveryRef // void if settled
	settled bool
	format  uint32
	msg     *endpoint.Message

	// Set by scan, then immutable.
	payload    []byte // what clients and the store get: the message without the delivery annotations
	cut        bool   // payload is a copy, because there were some
	bare       []byte // what lies behind the annotations, in msg's own bytes
	remoteHead []byte // what other nodes get in front of bare; nil if none is to get it

	mu       sync.Mutex
	open     int  // copies, the store and the distributor itself, that are not done
	captured bool // the store's answer counts, and is still to come
	routed   bool // all copies have begun
	decided  bool // no copy's outcome counts any more
	answered bool
	best     verdict
	err      *amqp.Error
}

// origin is where a message came from, and who is told what became of it.
type origin interface {
	// answer is called once for each delivery, unless outcomeUnknown is; err goes with rejected.
	answer(d *delivery, v verdict, err *amqp.Error, b *endpoint.Batch)
	outcomeUnknown(settled bool)
}

// verdict is what is known of the copies of a message, in rising order of what it means for the publisher.
type verdict uint8

const (
	nothing  verdict = iota // nobody was there
	released                // nobody took it
	modified                // somebody may have seen it
	rejected
	accepted
)

func verdictOf(state amqp.DeliveryState, lost, sent bool) (verdict, *amqp.Error) {
	switch s := state.(type) {
	case amqp.Accepted, *amqp.Accepted:
		return accepted, nil
	case amqp.Rejected:
		return rejected, s.Error
	case *amqp.Rejected:
		return rejected, s.Error
	case amqp.Modified, *amqp.Modified:
		return modified, nil
	case nil:
		if !lost {
			return accepted, nil // settled without a state: the receiver has it
		}
		if sent {
			return modified, nil
		}
	}
	return released, nil
}

// begin adds a part that will be done later.
func (d *delivery) begin() {
	d.mu.Lock()
	d.open++
	d.mu.Unlock()
}

// done says what became of a part.
func (d *delivery) done(v verdict, err *amqp.Error, b *endpoint.Batch) {
	d.mu.Lock()
	d.noteLocked(v, err)
	d.finish(b)
}

// distributed says that all copies have begun.
func (d *delivery) distributed(b *endpoint.Batch) {
	d.mu.Lock()
	d.routed = true
	d.finish(b)
}

// Answered is the store's word (Receipt).
func (d *delivery) Answered(a Answer) {
	d.mu.Lock()
	d.captured = false
	switch a.Kind {
	case Kept:
		d.noteLocked(accepted, nil)
	case Refused:
		d.best, d.err = rejected, a.Err
		d.decided = true
	case Unknown:
		d.decided = d.settled
		d.answered = !d.settled // never: the link is ended instead
		defer d.from.outcomeUnknown(d.settled)
	}
	d.finish(nil)
}

func (d *delivery) noteLocked(v verdict, err *amqp.Error) {
	if v > d.best {
		d.best, d.err = v, err
	}
}

// finish ends a part; it is called with mu and gives it back.
func (d *delivery) finish(b *endpoint.Batch) {
	d.open--
	last := d.open == 0
	// A presettled message is answered, which gives its publisher credit, as soon as nobody can want it any more but
	// those whose windows it waits in.
	answer := !d.answered && !d.captured && (last || d.decided || d.best == accepted || d.settled && d.routed)
	d.answered = d.answered || answer
	best, err := d.best, d.err
	d.mu.Unlock()
	if answer {
		d.from.answer(d, best, err, b)
	}
	if last {
		d.msg.Release()
	}
}

// scan looks at the head of the message and prepares what goes out. to is the annotation that tells other nodes the
// address, nil if none gets it.
func (d *delivery) scan(to *amqp.Change) error {
	var s amqp.Sections
	if _, err := s.ScanHead(d.msg.Bytes()); err != nil {
		return err
	}
	d.payload, d.bare = d.msg.Bytes(), s.Tail()
	if s.Has(amqp.SectionDeliveryAnnotations) {
		// 3.2.2: they are for the next node alone, which is this one.
		edit := amqp.Edit{DropDeliveryAnnotations: true}
		head, err := edit.AppendHead(nil, &s)
		if err != nil {
			return err
		}
		d.payload, d.cut = append(head, d.bare...), true
	}
	if to != nil {
		edit := amqp.Edit{DropDeliveryAnnotations: true, DeliveryAnnotations: []amqp.Change{*to}}
		head, err := edit.AppendHead(nil, &s)
		if err != nil {
			return err
		}
		d.remoteHead = head
	}
	return nil
}
