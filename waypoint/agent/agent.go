package agent

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// Agent is one node's. All methods may be called on any goroutine; none blocks but Drain and Close.
type Agent struct {
	cfg      Config
	log      *slog.Logger
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	lease    *lease
	counters counters
	held     atomic.Int64 // bytes of payloads in the router's memory
	onChange atomic.Pointer[func()]
	pressure pressureWatch

	mu     sync.Mutex // taken last of all locks
	closed bool
	shards map[uint32]*shard
	early  map[uint64]*peer.MissedNotice // the last of each subscription
	wg     sync.WaitGroup
}

// New starts an agent: it looks for the leaders of meta and of the shards at once. Close it before its hub.
func New(cfg Config) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	a := &Agent{cfg: cfg, log: cfg.Logger, shards: map[uint32]*shard{}}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.lease = newLease(a)
	policy := cfg.Policy
	first := &table{policy: &policy, shards: new([peer.Slots]*shard)}
	for i := range first.shards {
		first.shards[i] = a.shardOf(1 + uint32(i)%cfg.Shards)
	}
	a.lease.table.Store(first)
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(collector{a}); err != nil {
			a.Close()
			return nil, err
		}
	}
	a.begin(a.lease.run)
	a.lease.dialer = cfg.Hub.Dial(peer.MetaGroup, a.lease)
	return a, nil
}

// Close ends everything: what is unanswered in a lane is answered as unknown, what has no number yet is refused, detaches are answered. Outcomes
// that are not committed are lost, so Drain first.
func (a *Agent) Close() {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		a.wg.Wait()
		return
	}
	a.closed = true
	shards := a.shardList()
	a.mu.Unlock()
	if a.lease.dialer != nil {
		a.lease.dialer.Close()
	}
	for _, s := range shards {
		s.dialer.Close()
	}
	a.cancel()
	a.wg.Wait()
	for _, s := range shards {
		s.close()
	}
	if a.cfg.Registerer != nil {
		a.cfg.Registerer.Unregister(collector{a})
	}
}

// Drain waits until all publishes are answered and all links that have left are gone, or ctx ends.
func (a *Agent) Drain(ctx context.Context) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		if a.idle() {
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *Agent) idle() bool {
	a.mu.Lock()
	shards := a.shardList()
	a.mu.Unlock()
	for _, s := range shards {
		if !s.idle() {
			return false
		}
	}
	return true
}

// OnChange sets the function that is called when an address for which Admit said Withhold or Refuse may be admitted now, or the other way
// round. It must not block. Set it before the first Admit.
func (a *Agent) OnChange(f func()) { a.onChange.Store(&f) }

func (a *Agent) changed() {
	if f := a.onChange.Load(); f != nil {
		(*f)()
	}
}

// Admit says what to do with a publish that begins now. It is to be asked once for each publish, and again for one withheld.
func (a *Agent) Admit(address string) Admission {
	l := a.lease
	for {
		t := l.table.Load()
		if t.captured(address) {
			return t.shardOf(address).admit(address)
		}
		// The table was looked at before the clock: if it is out of date, so is the lease.
		if int64(a.cfg.Clock()) < l.expiry.Load() {
			return Admission{Verdict: Direct}
		}
		if l.is() != isolated {
			return Admission{Verdict: Withhold}
		}
		if t.policy.For(address).Isolated == peer.IsolatedRefuse {
			return Admission{Verdict: Refuse, Err: l.refused}
		}
		if l.through.pass(address) {
			return Admission{Verdict: Direct}
		}
	}
}

// admit says whether there is room for a captured publish.
func (s *shard) admit(address string) Admission {
	if r := s.refusing.Load(); r != nil {
		if err := r.refuses(address); err != nil {
			return Admission{Verdict: Refuse, Err: err}
		}
	}
	if !s.full.Load() {
		return Admission{Verdict: Captured}
	}
	if s.leaderless.Load() {
		return Admission{Verdict: Refuse, Err: s.noLeader}
	}
	return Admission{Verdict: Withhold}
}

// Publish hands a captured publish to its shard. The receipt hears what became of it.
func (a *Agent) Publish(p Publish) { a.lease.table.Load().shardOf(p.Address).publish(&p) }

// Policy is how publishes to an address are treated, as far as the cluster has told.
func (a *Agent) Policy(address string) peer.AddressPolicy {
	return *a.lease.table.Load().policy.For(address)
}

// shardOf gives the agent's end of a shard, making it when it is asked for first.
func (a *Agent) shardOf(id uint32) *shard {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.shards[id]
	if s == nil {
		s = newShard(a, id)
		a.shards[id] = s
		if a.closed {
			s.closed = true
			return s
		}
		a.wg.Go(s.run)
		s.dialer = a.cfg.Hub.Dial(id, s)
	}
	return s
}

// shardList lists the shards that have been started. The lock is held.
func (a *Agent) shardList() []*shard {
	list := make([]*shard, 0, len(a.shards))
	for _, s := range a.shards {
		if s.dialer != nil {
			list = append(list, s)
		}
	}
	return list
}

// begin runs f on a goroutine that Close waits for. False: closing.
func (a *Agent) begin(f func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.wg.Go(f)
	return true
}

// noticed passes on meta's word that links are no more.
func (a *Agent) noticed(n *peer.Notice) {
	a.mu.Lock()
	shards := a.shardList()
	a.mu.Unlock()
	for _, s := range shards {
		for _, sub := range s.linksOf(n.Sub, n.Gen) {
			sub.noticed(n.Condition, n.Text)
		}
	}
}

// unavailable is what a client is told when the cluster gives no answer.
func unavailable() *amqp.Error {
	e := localRefusal(0, peer.ReasonNoMajority, retryAfter)
	e.Description = "the waypoint cluster does not answer"
	return e
}
