package router

import (
	"errors"
	"sync"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
)

// outlet is where direct copies of messages go: a client's receiving link, or another node. Copies for which it has
// no credit wait in a window bounded in number, bytes and time; then they are dropped for this outlet alone, and
// counted. So a slow subscriber slows nobody.
type outlet struct {
	router *Router
	sender *endpoint.Sender
	mode   amqp.SenderSettleMode
	node   string // of another node's; empty for a client's
	window window

	mu      sync.Mutex
	gone    bool
	waiting []waitingCopy // oldest first, from head on
	head    int
	bytes   int64
}

type waitingCopy struct {
	d     *delivery
	size  int64
	since time.Time
}

// window bounds what may wait for an outlet.
type window struct {
	copies int
	bytes  int64
	time   time.Duration
}

func (o *outlet) remote() bool { return o.node != "" }

// offer gives the outlet a copy, which must have begun. It never blocks.
func (o *outlet) offer(d *delivery, b *endpoint.Batch) {
	o.mu.Lock()
	if !o.gone && o.head == len(o.waiting) && o.sendLocked(d, b) {
		o.mu.Unlock()
		return
	}
	size := int64(len(d.msg.Bytes()))
	switch {
	case o.gone:
		o.mu.Unlock()
		d.done(released, nil, b)
	case len(o.waiting)-o.head >= o.window.copies || o.bytes+size > o.window.bytes:
		o.mu.Unlock()
		o.drop(d, dropWindow, b)
	case o.router.budget.Exhausted():
		o.mu.Unlock()
		o.drop(d, dropMemory, b)
	default:
		o.waiting = append(o.waiting, waitingCopy{d, size, time.Now()})
		o.bytes += size
		first := len(o.waiting)-o.head == 1
		o.mu.Unlock()
		if first {
			o.router.slow.add(o)
		}
	}
}

// sendLocked sends a copy, or says that it must wait. A settled copy is done with it; of another Outcome tells.
func (o *outlet) sendLocked(d *delivery, b *endpoint.Batch) bool {
	settled := o.mode == amqp.SenderSettled || o.mode == amqp.SenderMixed && d.settled
	out := endpoint.Outgoing{Message: d.msg, Tail: d.payload, Settled: settled, Format: d.format, Cookie: d}
	if o.remote() {
		out.Prefix, out.Tail = d.remoteHead, d.bare
	} else if d.cut {
		out.Message = nil // Tail is not the message's own bytes
	}
	switch _, err := o.sender.Send(&out, b); {
	case errors.Is(err, endpoint.ErrTooLarge):
		o.router.metrics.dropped.WithLabelValues(dropSize).Inc()
		d.done(rejected, amqp.Errorf(amqp.ErrCondMessageSizeExceeded, "the message is larger than the subscriber takes"), b)
	case err != nil:
		return false
	default:
		o.router.metrics.direct.Inc()
		if settled {
			d.done(accepted, nil, b)
		}
	}
	return true
}

// credit sends what has waited.
func (o *outlet) credit(b *endpoint.Batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.head < len(o.waiting) {
		w := o.waiting[o.head]
		if !o.sendLocked(w.d, b) {
			return
		}
		o.popLocked()
	}
}

func (o *outlet) popLocked() {
	o.bytes -= o.waiting[o.head].size // its message may be gone already
	o.waiting[o.head] = waitingCopy{}
	o.head++
	if o.head == len(o.waiting) {
		o.waiting, o.head = o.waiting[:0], 0
	} else if o.head > 256 && o.head > len(o.waiting)/2 {
		o.waiting = append(o.waiting[:0], o.waiting[o.head:]...)
		o.head = 0
	}
}

// expire drops what has waited for too long. It returns whether anything still waits.
func (o *outlet) expire(now time.Time) bool {
	var late []*delivery
	o.mu.Lock()
	for o.head < len(o.waiting) && now.Sub(o.waiting[o.head].since) >= o.window.time {
		late = append(late, o.waiting[o.head].d)
		o.popLocked()
	}
	waits := o.head < len(o.waiting)
	o.mu.Unlock()
	for _, d := range late {
		o.drop(d, dropTime, nil)
	}
	return waits
}

// close gives back what waits: the link is gone.
func (o *outlet) close(b *endpoint.Batch) {
	o.mu.Lock()
	o.gone = true
	left := o.waiting[o.head:]
	o.waiting, o.head, o.bytes = nil, 0, 0
	o.mu.Unlock()
	for _, w := range left {
		w.d.done(released, nil, b)
	}
}

func (o *outlet) drop(d *delivery, cause string, b *endpoint.Batch) {
	o.router.metrics.dropped.WithLabelValues(cause).Inc()
	d.done(released, nil, b)
}

// waits is how many copies wait.
func (o *outlet) waits() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting) - o.head
}

// outcome is the news of a copy that went out unsettled.
func (o *outlet) outcome(out *endpoint.Outcome, b *endpoint.Batch) {
	if !out.Final {
		return
	}
	v, err := verdictOf(out.State, out.Lost, out.Sent)
	out.Cookie.(*delivery).done(v, err, b)
}

// slowOutlets are those for which something waits; a ticker looks at them.
type slowOutlets struct {
	mu  sync.Mutex
	all map[*outlet]struct{}
}

func (s *slowOutlets) add(o *outlet) {
	s.mu.Lock()
	s.all[o] = struct{}{}
	s.mu.Unlock()
}

func (s *slowOutlets) expire(now time.Time) {
	s.mu.Lock()
	outlets := make([]*outlet, 0, len(s.all))
	for o := range s.all {
		outlets = append(outlets, o)
	}
	s.mu.Unlock()
	for _, o := range outlets {
		if !o.expire(now) {
			s.mu.Lock()
			if o.waits() == 0 {
				delete(s.all, o)
			}
			s.mu.Unlock()
		}
	}
}
