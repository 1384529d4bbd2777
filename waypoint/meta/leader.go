package meta

import (
	"context"
	"slices"
	"sync"

	"github.com/posthouse/posthouse/raft"
)

// Leader is what one node does for meta while its replica leads group 0. It exists on every node and sleeps until then;
// everything that it knows while it leads is a reign: made anew from what is applied when a turn of leadership begins, thrown
// away when it ends. So nothing is ever built upon what another leader may have undone.
type Leader struct {
	cfg Config
	met *metrics

	mu      sync.Mutex
	present *reign
}

// NewLeader makes a Leader. Run it.
func NewLeader(cfg Config) (*Leader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	l := &Leader{cfg: cfg}
	met, err := newMetrics(cfg.Registerer, cfg.Machine)
	if err != nil {
		return nil, err
	}
	l.met = met
	return l, nil
}

// Run follows the leadership of the group until ctx is done. Then, or when the leadership ends, all that was asked is
// answered as unavailable, and every goroutine has ended.
func (l *Leader) Run(ctx context.Context) error {
	stop := l.cfg.Group.Watch(l.follow)
	select {
	case <-l.cfg.Machine.Seeded():
		l.compare()
		<-ctx.Done()
	case <-ctx.Done():
	}
	stop()
	l.follow(raft.Leadership{})
	l.met.close()
	return ctx.Err()
}

// compare says loudly in what this node's configuration is another than the cluster was made with, whoever leads. What is in
// force is the cluster's.
func (l *Leader) compare() {
	policy, inForce := l.cfg.Machine.Policy()
	if seed := &l.cfg.Seed.Policy; !samePolicy(inForce, policyJSON(seed)) {
		if keys := policyDifferences(seed, policy); len(keys) > 0 {
			l.cfg.Logger.Warn("this node's configuration of addresses is not the one in force in the cluster, and is ignored", "differences", keys)
		}
	}
	slots := l.cfg.Machine.Slots()
	if n := slices.Max(slots[:]); n != l.cfg.Seed.Shards {
		l.cfg.Logger.Warn("this node is configured for another number of shards than the cluster was made with, and that is ignored",
			"configured", l.cfg.Seed.Shards, "in-force", n)
	}
}

// follow ends the reign of an old turn and begins that of a new one. A turn may end without the leadership: then the
// same node begins again like a new leader, because it no longer knows what of its last commands has been applied.
func (l *Leader) follow(now raft.Leadership) {
	l.mu.Lock()
	r := l.present
	l.mu.Unlock()
	if r != nil {
		if now.Leader && now.Turn == r.turn {
			return
		}
		r.end()
		r = nil
	}
	if now.Leader {
		r = newReign(l.cfg, l.met, now)
		r.begin()
	}
	l.mu.Lock()
	l.present = r
	l.mu.Unlock()
}
