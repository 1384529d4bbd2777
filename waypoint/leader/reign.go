package leader

import (
	"context"
	"sync"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// reign is everything that a leader knows in one turn of its leadership. It is owned by the leader's goroutine, but for
// what is constant.
type reign struct {
	l          *Leader
	m          *shard.Machine
	term, turn uint64
	ctx        context.Context
	cancel     context.CancelFunc
	wg         sync.WaitGroup // its own goroutines
	stop       func()         // ends the sessions
	over       bool

	born int64  // by the group's clock
	last uint64 // the last seq given before: nothing above was ever handed out by an earlier leader
	now  time.Time

	sessions map[*session]struct{}
	byRouter map[string]*session
	silent   map[uint64]int64 // lanes without a session: since when, by the group's clock
	cursors  map[uint64]*cursor
	topics   map[string]*topic
	hot      hot

	// What waits for the next turn.
	opening   []opening
	asking    []*link
	departing []*link
	acking    []*session
	settling  []*cursor
	marking   []*cursor
	senders   ring[*session]
	recheck   []string // addresses
	requests  []*request
	ends      []uint64
	trims     []shard.Trim
	lanesDue  bool

	flying *turn              // the command in flight
	found  map[search]message // by the turn under construction; no seq: there is none
	spare  turn               // ... or the memory of the last one

	// Dispatch.
	ready     ring[*cursor]
	unsaid    []*session
	scratch   peer.Deliver
	reads     ring[*cursor] // wait for memory to read into
	readBytes int64
	buffered  map[*cursor]struct{}
	starved   map[*cursor]struct{} // a read failed

	pressure    peer.Pressure // as all routers know it
	refusing    []*topic
	freeing     map[string]*freeing // by address
	untold      []*topic            // whose subscribers may want to know their state
	attachedNow int
	auditing    bool

	nextTick, nextLanes, nextAudit, nextExpiry time.Time
}

func newReign(l *Leader, lead raft.Leadership) *reign {
	r := &reign{
		l: l, m: l.cfg.Machine, term: lead.Term, turn: lead.Turn,
		now:      time.Now(),
		born:     l.cfg.Raft.Now(),
		last:     l.cfg.Machine.Last(),
		sessions: map[*session]struct{}{},
		byRouter: map[string]*session{},
		silent:   map[uint64]int64{},
		cursors:  map[uint64]*cursor{},
		topics:   map[string]*topic{},
		hot:      hot{limit: l.cfg.HotBytes},
		buffered: map[*cursor]struct{}{},
		found:    map[search]message{},
		starved:  map[*cursor]struct{}{},
		freeing:  map[string]*freeing{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// begin takes the shard over: first whatever the limits no longer allow, then publishes.
func (r *reign) begin() {
	for _, t := range r.m.Topics() {
		r.recheck = append(r.recheck, t.Address)
		r.freedIn(t.Address, t.ID)
	}
	r.l.log.Info("leading", "term", r.term, "index", r.m.Index(), "topics", len(r.recheck))
	r.l.metrics.leading(r)
	r.stop = r.l.cfg.Serve(r.term, &server{r})
}

// end throws the reign away: sessions are reset, requests answered, and nobody remembers.
func (r *reign) end(reason string) {
	if r.over {
		return
	}
	r.over = true
	r.l.reign = nil
	r.l.account(0)
	r.l.metrics.leading(nil)
	r.l.log.Info("no longer leading", "term", r.term, "reason", reason)
	r.cancel()
	r.stop()
	for s := range r.sessions {
		s.over = true
		s.Session.Close(reason)
	}
	if r.flying != nil {
		for _, q := range r.flying.requests {
			q.reply(nil, &peer.UnavailableError{Text: "the leader changed: " + reason})
		}
	}
	for _, q := range r.requests {
		q.reply(nil, r.l.notLeader())
	}
	r.wg.Wait()
}

// post has f called on the goroutine, if the reign still lasts then. It may be called from anywhere.
func (r *reign) post(f func(*reign)) {
	r.l.box.put(func() {
		if !r.over {
			f(r)
		}
	})
}

// step does what there is to do after what has come in was taken; true if there is more at once.
func (r *reign) step() bool {
	r.now = time.Now()
	r.countWaiting()
	if !r.now.Before(r.nextTick) {
		r.tick()
	}
	switch {
	case r.flying == nil:
		r.takeTurn()
	case !r.flying.retry.IsZero() && !r.now.Before(r.flying.retry):
		r.propose()
	}
	more := r.dispatch()
	more = more || r.flying == nil && len(r.marking) > 0 // dispatch stands still without them
	for _, s := range r.unsaid {
		s.unsaid = false
		s.Flush()
	}
	clear(r.unsaid)
	r.unsaid = r.unsaid[:0]
	return more
}

// wait is how long nothing needs to be done if nothing comes in.
func (r *reign) wait() time.Duration {
	next := r.nextTick
	if f := r.flying; f != nil {
		if !f.retry.IsZero() && f.retry.Before(next) {
			next = f.retry
		}
	} else if deadline, ok := r.m.NextAgeDeadline(); ok {
		// By the group's clock, which may be slower: then it is looked at again.
		at := r.now.Add(time.Duration(min(max(deadline-r.l.cfg.Raft.Now(), 1), 1000)) * time.Millisecond)
		if at.Before(r.nextExpiry) {
			at = r.nextExpiry
		}
		if at.Before(next) {
			next = at
		}
	}
	return max(0, next.Sub(r.now))
}

func (r *reign) status() Status {
	s := Status{Leading: true, Term: r.term, Sessions: len(r.sessions), Attached: r.attachedNow, HotBytes: r.hot.bytes, Reading: r.readBytes}
	for _, c := range r.cursors {
		s.InFlight += c.flight.held()
	}
	for s2 := range r.sessions {
		s.Waiting += len(s2.inbox)
		s.WaitingBytes += s2.waiting.Load()
	}
	return s
}
