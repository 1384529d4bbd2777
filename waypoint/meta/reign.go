package meta

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// reign is one turn of leadership. Its fields belong to the goroutine of run, but for those under mu; what others bring is
// posted to it as functions.
type reign struct {
	cfg   Config
	m     *Machine
	log   *slog.Logger
	met   *metrics
	term  uint64
	turn  uint64
	began time.Time

	ctx     context.Context
	cancel  context.CancelFunc
	stopped chan struct{}
	wg      sync.WaitGroup // calls of VerifyLeader and to shards
	wake    chan struct{}  // capacity 1

	mu   sync.Mutex
	box  []func()
	over bool
	open map[*request]struct{} // requests that have no answer yet

	stopServing func()
	proposals
	verification
	leases
	work
	lastTick time.Time
}

func newReign(cfg Config, met *metrics, now raft.Leadership) *reign {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reign{
		cfg: cfg, m: cfg.Machine, met: met, term: now.Term, turn: now.Turn, began: time.Now(),
		log: cfg.Logger.With("term", now.Term),
		ctx: ctx, cancel: cancel, stopped: make(chan struct{}), wake: make(chan struct{}, 1),
		open: map[*request]struct{}{}, stopServing: func() {},
	}
	r.beginLeases()
	r.beginWork()
	return r
}

func (r *reign) begin() { go r.run() }

// end returns when nothing of the reign runs any more and all that was asked is answered.
func (r *reign) end() {
	r.cancel()
	<-r.stopped
	r.wg.Wait()
	r.mu.Lock()
	r.over = true
	left := r.open
	r.open = nil
	r.mu.Unlock()
	for q := range left {
		q.reply(nil, errDeposed)
	}
}

// post has f called by the reign's goroutine. It never blocks. After the reign nothing is called.
func (r *reign) post(f func()) {
	r.mu.Lock()
	r.box = append(r.box, f)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reign) take() []func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	box := r.box
	r.box = nil
	return box
}

// run takes what has come, and settles what follows from it.
func (r *reign) run() {
	defer close(r.stopped)
	defer func() {
		r.cfg.Hub.Handle(nil)
		r.stopServing()
	}()
	r.start()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for _, f := range r.take() {
			f()
		}
		now := time.Now()
		next := r.settle(now)
		timer.Reset(next.Sub(now))
		select {
		case <-r.ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// start seeds a new cluster, and then lets agents and requests in.
func (r *reign) start() {
	if _, seeded := r.m.Feature(); seeded {
		r.serve()
		return
	}
	mine := policyJSON(&r.cfg.Seed.Policy)
	r.do(&seed{policy: mine, slots: Spread(r.cfg.Seed.Shards), feature: r.cfg.Seed.Feature}, func(Outcome) { r.serve() })
}

func (r *reign) serve() {
	r.log.Info("leading meta", "epoch", r.m.Epoch(), "subscriptions", r.m.count())
	r.stopServing = r.cfg.Hub.Serve(r.term, server{r})
	r.cfg.Hub.Handle(r.handle)
	for _, id := range r.m.listUnfinished() {
		r.advance(id)
	}
}

// tickEvery is how often the reign looks at what only time changes.
const tickEvery = time.Second

// settle does what has become due, and says when it wants to be called again at the latest.
func (r *reign) settle(now time.Time) (next time.Time) {
	if now.Sub(r.lastTick) >= tickEvery {
		r.lastTick = now
		r.tick(now)
	}
	next = r.lastTick.Add(tickEvery)
	next = earlier(next, r.endLeases(now))
	r.settleWaits()
	r.runErrands()
	next = earlier(next, r.propose(now))
	return next
}

func earlier(a, b time.Time) time.Time {
	if !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// proposals is what waits to be committed. One command is in flight at a time, and what comes meanwhile makes up the next one: so
// ten thousand subscriptions take some tens of entries, and a single one waits for nobody.
type proposals struct {
	queue   []proposal
	flying  bool
	notTill time.Time // raft has too much to do
}

type proposal struct {
	op   op
	done func(Outcome)
}

// Bounds of one command.
const (
	commandBytes  = 512 << 10
	pauseWhenFull = 20 * time.Millisecond
)

// do has an operation committed, in order; done gets what became of it when it is applied. If the reign ends before, done
// is never called.
func (r *reign) do(o op, done func(Outcome)) {
	r.queue = append(r.queue, proposal{o, done})
}

func (r *reign) propose(now time.Time) (next time.Time) {
	if r.flying || len(r.queue) == 0 {
		return time.Time{}
	}
	if now.Before(r.notTill) {
		return r.notTill
	}
	data := beginCommand(nil)
	n := 0
	for n < len(r.queue) && n < maxOps && len(data) < commandBytes {
		data = appendOp(data, r.queue[n].op)
		n++
	}
	batch := r.queue[:n:n]
	r.queue = r.queue[n:]
	r.flying = true
	r.cfg.Group.Propose(r.turn, data, func(result any, err error) {
		r.post(func() { r.proposed(batch, result, err) })
	})
	return time.Time{}
}

func (r *reign) proposed(batch []proposal, result any, err error) {
	r.flying = false
	switch {
	case errors.Is(err, raft.ErrOverloaded):
		r.queue = append(batch, r.queue...)
		r.notTill = time.Now().Add(pauseWhenFull)
		return
	case err != nil:
		// What became of the command only a new turn can know, and the group begins one. Nothing more is proposed in this
		// one.
		r.log.Info("a command of meta was not confirmed, beginning again", "error", err)
		r.flying = true
		return
	}
	res := result.(*Result)
	if res.Err != nil {
		r.log.Error("meta could not read its own command", "error", res.Err)
	}
	r.noteEpoch(res.Epoch)
	for i, p := range batch {
		out := Outcome{Fit: Missing}
		if i < len(res.Outcomes) {
			out = res.Outcomes[i]
		}
		if p.done != nil {
			p.done(out)
		}
	}
}

// verification is what waits for a majority to confirm that this node leads.
type verification struct {
	unverified []func()
	verifying  bool
}

const retryVerify = 50 * time.Millisecond

// verified has fn called once a majority has confirmed the leadership, from now on. So what fn sees is no older than this
// call.
func (r *reign) verified(fn func()) {
	r.unverified = append(r.unverified, fn)
	r.verify()
}

func (r *reign) verify() {
	if r.verifying || len(r.unverified) == 0 {
		return
	}
	batch := r.unverified
	r.unverified, r.verifying = nil, true
	r.wg.Go(func() {
		err := r.cfg.Group.VerifyLeader(r.ctx)
		if err != nil {
			// Perhaps no majority can be reached; perhaps the reign is about to end.
			select {
			case <-r.ctx.Done():
				return
			case <-time.After(retryVerify):
			}
		}
		r.post(func() {
			r.verifying = false
			if err != nil {
				r.unverified = append(batch, r.unverified...)
			} else {
				for _, fn := range batch {
					fn()
				}
			}
			r.verify()
		})
	})
}

// server hands what sessions bring to the reign.
type server struct{ r *reign }

func (s server) Opened(session *peer.Session, hello *peer.Hello) {
	s.r.post(func() { s.r.hello(session, hello) })
}

func (s server) Received(session *peer.Session, messages []peer.Message) {
	at := time.Now()
	s.r.post(func() {
		for _, m := range messages {
			s.r.receive(session, m, at)
		}
	})
}

func (s server) Closed(session *peer.Session, _ error) {
	s.r.post(func() { s.r.closed(session) })
}
