package meta

import (
	"context"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// errands gathers what one shard is to do. One call is under way at a time, with everything that had come up before it: so
// the shard commits many cursors in one entry.
type errands struct {
	shard   uint32
	queue   []errand
	flying  bool
	fails   int
	notTill time.Time
}

// errand is one of start, end and limits. done is called when the shard has it, or refuses it for good.
type errand struct {
	start  *peer.StartCursor
	end    uint64
	limits *peer.CursorLimits
	done   func(refusal *peer.Error)
}

// Bounds of one call.
const (
	errandsAtOnce = 1000
	errandBytes   = 512 << 10
	errandFor     = 10 * time.Second
)

func (r *reign) errandsOf(shard uint32) *errands {
	e := r.errands[shard]
	if e == nil {
		e = &errands{shard: shard}
		r.errands[shard] = e
	}
	return e
}

func (e *errands) add(x errand) { e.queue = append(e.queue, x) }

func (x *errand) sub() uint64 {
	switch {
	case x.start != nil:
		return x.start.Sub
	case x.limits != nil:
		return x.limits.Sub
	}
	return x.end
}

// bytes is about what it takes in a request.
func (x *errand) bytes() int {
	if x.start == nil {
		return 128
	}
	return 256 + len(x.start.Address) + len(x.start.Owner) + len(x.start.Name)
}

// runErrands calls the shards that have something to do, and says nothing of when: whoever is refused asks again by a timer of
// its own.
func (r *reign) runErrands() {
	now := time.Now()
	for _, e := range r.errands {
		if e.flying || len(e.queue) == 0 || now.Before(e.notTill) {
			continue
		}
		r.runErrand(e)
	}
}

func (r *reign) runErrand(e *errands) {
	var c peer.CursorsRequest
	n, size := 0, 0
	for n < len(e.queue) && n < errandsAtOnce && size < errandBytes {
		x := &e.queue[n]
		size += x.bytes()
		switch {
		case x.start != nil:
			c.Start = append(c.Start, *x.start)
		case x.limits != nil:
			c.Limits = append(c.Limits, *x.limits)
		default:
			c.End = append(c.End, x.end)
		}
		n++
	}
	batch := e.queue[:n:n]
	e.queue, e.flying = e.queue[n:], true
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, errandFor)
		defer cancel()
		refused, err := r.cfg.Shards.Change(ctx, e.shard, c)
		r.post(func() { r.ran(e, batch, refused, err) })
	})
}

func (r *reign) ran(e *errands, batch []errand, refused []peer.CursorRefused, err error) {
	e.flying = false
	if err != nil {
		if e.fails == 0 {
			r.log.Warn("a shard can't be reached for changes of subscriptions; trying on", "shard", e.shard, "error", err)
		}
		wait := min(time.Second, 50*time.Millisecond<<min(e.fails, 5))
		e.fails++
		e.queue = append(batch, e.queue...)
		e.notTill = time.Now().Add(wait)
		r.later(wait)
		return
	}
	e.fails = 0
	refusals := make(map[uint64]*peer.Error, len(refused))
	for i := range refused {
		refusals[refused[i].Sub] = &refused[i].Error
	}
	for _, x := range batch {
		x.done(refusals[x.sub()])
	}
}

// later has the reign look around after a while.
func (r *reign) later(wait time.Duration) {
	r.wg.Go(func() {
		select {
		case <-r.ctx.Done():
		case <-time.After(wait):
			r.post(func() {})
		}
	})
}
