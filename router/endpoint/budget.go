package endpoint

import (
	"sync"
	"sync/atomic"
	"time"
)

// Budget is memory that many connections share: the payloads that have come in and are not released yet, and whatever else its owner counts
// in it. Taking never blocks and never fails. But while more is in use than the limit, ordinary connections
// stop reading at the next transfer; flows, dispositions and everything else before it still come in, and connections between
// nodes ([Config.Internal]) go on.
//
// This can't lock up as long as what is counted is released without waiting for an ordinary connection to read. The engine keeps to that:
//
//   - A payload that the writer is busy with is released when it is written, and a peer that does not read is dropped
//     (Config.WriteTimeout).
//   - A payload that is queued for credit or session window needs the peer's next flow, which may be behind the transfer that waits.
//     So a reader whose connection has such a queue does not wait longer than budgetPatience. From then on, until there is memory,
//     it refuses the deliveries that come: rejected with amqp:resource-limit-exceeded, or dropped and counted if they are settled.
//   - A message that is only partly in needs reading to get done. When readers have waited for budgetPatience the largest of those
//     is given up: its link is detached with amqp:resource-limit-exceeded.
//
// Who else keeps a Message until a peer answers must bound that by time, or copy it and count it elsewhere.
//
// All methods may be called from any goroutine; those that are exported may be called on a nil Budget, which has no limit.
type Budget struct {
	limit   int64
	used    atomic.Int64
	waiting atomic.Int32

	mu       sync.Mutex
	room     chan struct{} // closed when there is room again; nil while nobody waits
	partials map[*Receiver]struct{}
	gaveUp   time.Time // when the last message was given up
}

// budgetPatience is how long readers wait for memory before a message that is partly in is given up.
const budgetPatience = 2 * time.Second

// NewBudget makes a Budget of limit bytes.
func NewBudget(limit int64) *Budget {
	return &Budget{limit: limit, partials: make(map[*Receiver]struct{})}
}

// Used is the number of bytes in use; it may be above Limit.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Limit is the number of bytes from which on readers wait.
func (b *Budget) Limit() int64 {
	if b == nil {
		return 0
	}
	return b.limit
}

// Exhausted tells whether readers wait.
func (b *Budget) Exhausted() bool { return b != nil && b.used.Load() >= b.limit }

// Take counts n bytes as used.
func (b *Budget) Take(n int64) {
	if b != nil {
		b.used.Add(n)
	}
}

// Give takes back what Take counted.
func (b *Budget) Give(n int64) {
	if b == nil {
		return
	}
	if used := b.used.Add(-n); used < b.low() && b.waiting.Load() > 0 {
		b.mu.Lock()
		if b.room != nil {
			close(b.room)
			b.room = nil
		}
		b.mu.Unlock()
	}
}

// low is where readers go on, a little below the limit so that they don't all wake for one message's room.
func (b *Budget) low() int64 { return b.limit - b.limit/16 }

// wait returns when there is room, when stop is closed, or when poked gives something. It returns false, and may be called again, when it
// has waited for budgetPatience.
func (b *Budget) wait(stop, poked <-chan struct{}) bool {
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	patience := time.NewTimer(budgetPatience)
	defer patience.Stop()
	for {
		b.mu.Lock()
		if b.room == nil {
			b.room = make(chan struct{})
		}
		room := b.room
		b.mu.Unlock()
		// Whoever gives from here on sees that we wait, and closes room.
		if b.used.Load() < b.low() {
			return true
		}
		select {
		case <-room:
		case <-stop:
			return true
		case <-poked:
			return true
		case <-patience.C:
			if r := b.victim(); r != nil {
				r.giveUpPartial()
			}
			return false
		}
	}
}

// victim chooses the message to give up, for the first of those who have waited long enough: what that frees is to be seen before
// another is.
func (b *Budget) victim() *Receiver {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.gaveUp) < budgetPatience/2 {
		return nil
	}
	var worst *Receiver
	for r := range b.partials {
		if worst == nil || r.partialSize.Load() > worst.partialSize.Load() {
			worst = r
		}
	}
	if worst != nil {
		delete(b.partials, worst)
		b.gaveUp = time.Now()
	}
	return worst
}

// begun and done register receivers that have a part of a message.
func (b *Budget) begun(r *Receiver) {
	if b != nil {
		b.mu.Lock()
		b.partials[r] = struct{}{}
		b.mu.Unlock()
	}
}

func (b *Budget) done(r *Receiver) {
	if b != nil {
		b.mu.Lock()
		delete(b.partials, r)
		b.mu.Unlock()
	}
}
