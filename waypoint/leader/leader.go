package leader

import (
	"log/slog"
	"sync"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// Leader leads one shard while its replica does. All methods may be called from any goroutine.
type Leader struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	box     *mailbox
	reader  *reader
	stopped chan struct{} // the goroutine has ended
	once    sync.Once

	mu     sync.Mutex
	lead   raft.Leadership // the latest
	posted bool            // ... and the goroutine will look at it

	// Owned by the goroutine.
	reign    *reign // nil while another replica leads
	lastTurn uint64 // turns up to this one are over
	closing  bool

	accounted int64 // what Config.Memory counts of this leader
}

// New starts the leader of a replica; it sleeps until Lead says that the replica leads. Close ends it.
func New(cfg Config) (*Leader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	l := &Leader{
		cfg:     cfg,
		log:     cfg.Logger.With("shard", cfg.Shard),
		box:     newMailbox(),
		stopped: make(chan struct{}),
	}
	l.metrics = newMetrics(l)
	l.reader = newReader(cfg.Machine)
	go l.run()
	return l, nil
}

// Lead tells what raft knows of the leadership: for raft.Group.Watch. It never blocks.
func (l *Leader) Lead(lead raft.Leadership) {
	l.mu.Lock()
	l.lead = lead
	post := !l.posted
	l.posted = true
	l.mu.Unlock()
	if post {
		l.box.put(l.leadershipChanged)
	}
}

// Handle answers requests to the shard's leader: for peer.Hub.Handle. It never blocks; a replica that does not lead
// answers *peer.NotLeaderError.
func (l *Leader) Handle(from, op string, body []byte, reply func(body []byte, err error)) {
	req, err := decodeRequest(op, body)
	if err != nil {
		reply(nil, err)
		return
	}
	ok := l.box.put(func() {
		if l.reign == nil {
			reply(nil, l.notLeader())
			return
		}
		l.reign.request(req, reply)
	})
	if !ok {
		reply(nil, &peer.NotLeaderError{})
	}
}

// Status describes this replica's leader. It waits for the goroutine to be between two steps.
func (l *Leader) Status() Status {
	out := make(chan Status, 1)
	if !l.box.put(func() { out <- l.status() }) {
		return Status{}
	}
	select {
	case s := <-out:
		return s
	case <-l.stopped:
		return Status{}
	}
}

// Close ends the reign, answers what waits and stops every goroutine. Close the sessions' hub before or after it, the
// raft group after it. A second Close does nothing.
func (l *Leader) Close() {
	l.once.Do(func() { l.box.put(func() { l.closing = true }) })
	<-l.stopped
}

// Status is what a Leader tells about itself, for people and tests.
type Status struct {
	Leading  bool
	Term     uint64
	Sessions int
	Attached int // subscriptions with a link
	InFlight int // deliveries that routers hold
	Waiting  int // publishes that wait for a turn
	// WaitingBytes is what these take, and those that came in and were not looked at.
	WaitingBytes int64
	HotBytes     int64 // held in memory for live consumers
	Reading      int64 // bytes read from disk, or being read, for dispatch
}

func (l *Leader) status() Status {
	if l.reign == nil {
		return Status{}
	}
	return l.reign.status()
}

// never is later than any deadline.
const never = time.Duration(1<<63 - 1)

// run is the leader's goroutine.
func (l *Leader) run() {
	defer close(l.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var work []func()
	for {
		work = l.box.take(work)
		if l.reign != nil {
			l.reign.now = time.Now()
		}
		for _, f := range work {
			f()
		}
		if l.closing {
			l.shut()
			return
		}
		wait, more := never, false
		if l.reign != nil {
			more = l.reign.step()
		}
		if l.reign != nil { // a step may end it
			wait = l.reign.wait()
		}
		if more {
			continue
		}
		timer.Reset(wait)
		select {
		case <-l.box.ready:
		case <-timer.C:
		}
	}
}

func (l *Leader) shut() {
	if l.reign != nil {
		l.reign.end("closing")
	}
	for _, f := range l.box.close() {
		f() // with no reign: whoever waits for an answer gets one
	}
	l.reader.close()
	l.metrics.close()
}

func (l *Leader) leadershipChanged() {
	l.mu.Lock()
	lead := l.lead
	l.posted = false
	l.mu.Unlock()
	if l.closing {
		return
	}
	if l.reign != nil && (!lead.Leader || lead.Turn != l.reign.turn) {
		l.reign.end("not the leader")
	}
	if l.reign == nil && lead.Leader && lead.Turn > l.lastTurn {
		l.lastTurn = lead.Turn
		l.reign = newReign(l, lead)
		l.reign.begin()
	}
}

// again begins a new reign in the turn of the one that has just ended.
func (l *Leader) again() {
	l.lastTurn--
	l.box.put(l.leadershipChanged)
}

// notLeader names who leads, as far as it is known and another node.
func (l *Leader) notLeader() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lead.Leader {
		return &peer.NotLeaderError{} // between two turns of ours
	}
	return &peer.NotLeaderError{Leader: l.lead.LeaderNode}
}
