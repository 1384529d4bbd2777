package leader

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/peer/peertest"
)

// TestG04SessionsBreakAndLeadersMove publishes and consumes over real sessions, whose network loses and cuts, while the leadership moves
// between two nodes: every message is kept once, in order, and handed out once, but for what says that it may be the
// second time.
func TestG04SessionsBreakAndLeadersMove(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) { breakAndMove(t, w, seed) })
		})
	}
}

func breakAndMove(t *testing.T, w *world, seed uint64) {
	const messages = 2000
	rnd := rand.New(rand.NewPCG(seed, 3))
	fabric := peertest.NewFabric()
	defer fabric.Close()
	hubs := map[string]*peer.Hub{}
	for _, node := range []string{"a", "b", "r1", "r2"} {
		hub, err := peer.Open(peer.Config{Network: fabric.Node(node), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer hub.Close()
		hubs[node] = hub
	}
	sub := w.start("news", peer.Limits{MaxInFlight: 100})
	w.depose()
	w.raft.set(func(f *fakeRaft) { f.term = 10 })
	leaders := map[string]*Leader{}
	for _, node := range []string{"a", "b"} {
		cfg := w.config
		cfg.Serve = func(term uint64, s peer.Server) func() { return hubs[node].Serve(1, term, s).Stop }
		l, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		leaders[node] = l
	}
	move := func(to string) {
		var lead raft.Leadership
		w.raft.set(func(f *fakeRaft) {
			f.turn++
			f.term++
			lead = raft.Leadership{Term: f.term, LeaderNode: to}
		})
		for node, l := range leaders {
			if node != to {
				l.Lead(lead)
			}
		}
		synctest.Wait()
		lead.Leader, lead.Turn = true, w.raft.turn
		leaders[to].Lead(lead)
	}
	move("a")
	p := &publisher{router: "r1", total: messages}
	p.dialer = hubs["r1"].Dial(1, p)
	defer p.dialer.Close()
	c := &consumer{t: t, router: "r2", sub: sub, gen: 1, rnd: rand.New(rand.NewPCG(seed, 4)), held: map[uint64]*holding{}, got: map[uint64]bool{}}
	c.dialer = hubs["r2"].Dial(1, c)
	defer c.dialer.Close()

	nodes := []string{"a", "b"}
	for round := 0; c.confirmed() < messages; round++ {
		if round > 5000 {
			t.Fatalf("%d of %d are confirmed, %d answered: %+v", c.confirmed(), messages, p.answeredUp(), w.cursor(sub))
		}
		router, node := []string{"r1", "r2"}[rnd.IntN(2)], nodes[rnd.IntN(2)]
		switch k := rnd.IntN(40); {
		case k == 0:
			move(node)
		case k < 3:
			fabric.LoseNext(router, node, 1+rnd.IntN(3))
		case k < 5:
			fabric.LoseNext(node, router, 1+rnd.IntN(3))
		case k == 5:
			fabric.Cut(router, node)
			time.Sleep(time.Duration(rnd.IntN(500)) * time.Millisecond)
			fabric.Heal(router, node)
		}
		time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
		p.more(rnd.IntN(30))
		c.settle(rnd.IntN(60))
	}
	cur := w.cursor(sub)
	if cur.Confirmed.Messages != messages || cur.Backlog.Messages != 0 || w.machine.Last() != messages {
		t.Fatalf("cursor %+v, last %d", cur, w.machine.Last())
	}
}

// publisher is a router's lane, as small as can be.
type publisher struct {
	router string
	dialer *peer.Dialer
	total  uint64

	mu       sync.Mutex
	session  *peer.Session
	lane     uint64
	numbered uint64 // how many have a number
	answered uint64
	sent     uint64 // in this session
}

func (p *publisher) Hello() *peer.Hello {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &peer.Hello{Router: p.router, Boot: 1, Lane: p.lane}
}

func (p *publisher) Opened(s *peer.Session, w *peer.Welcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session, p.lane, p.answered, p.sent = s, w.Lane, w.Last, w.Last
	p.sendLocked()
}

func (p *publisher) Received(_ *peer.Session, list []peer.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range list {
		if a, ok := m.(*peer.Answers); ok {
			p.answered = max(p.answered, a.Through)
		}
	}
}

func (p *publisher) Closed(*peer.Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session = nil
}

func (p *publisher) answeredUp() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answered
}

func (p *publisher) more(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.numbered = min(p.total, p.numbered+uint64(n))
	p.sendLocked()
}

// sendLocked sends what is numbered and was not sent in this session; numbers are never given twice.
func (p *publisher) sendLocked() {
	if p.session == nil {
		return
	}
	var m peer.Publish
	for p.sent < p.numbered {
		p.sent++
		m.Items = append(m.Items, peer.PublishItem{N: p.sent, Address: "news", Payload: fmt.Appendf(nil, "message %d", p.sent)})
	}
	if len(m.Items) > 0 {
		p.session.Send(&m)
		p.session.Flush()
	}
}

// consumer is a router's link, with a client that settles when it is told to.
type consumer struct {
	t      *testing.T
	router string
	dialer *peer.Dialer
	sub    uint64
	gen    uint64
	rnd    *rand.Rand

	mu      sync.Mutex
	session *peer.Session
	lane    uint64
	used    uint64 // in this session
	held    map[uint64]*holding
	got     map[uint64]bool // seen at least once
	next    uint64          // the highest one seen
	done    uint64
}

type holding struct {
	count   uint32
	outcome peer.OutcomeState // 0: none yet
}

func (c *consumer) Hello() *peer.Hello {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &peer.Hello{Router: c.router, Boot: 1, Lane: c.lane}
}

func (c *consumer) Opened(s *peer.Session, w *peer.Welcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.lane, c.used = s, w.Lane, 0
	a := &peer.Attach{Sub: c.sub, Gen: c.gen, Credit: 50}
	var outcomes peer.Outcome
	for seq, h := range c.held {
		a.Held = append(a.Held, peer.Held{Seq: seq, Count: h.count})
		if h.outcome != 0 {
			outcomes.Items = append(outcomes.Items, peer.OutcomeItem{Seq: seq, Count: h.count, State: h.outcome})
		}
	}
	s.Send(&peer.Window{Bytes: 1 << 40})
	s.Send(a)
	outcomes.Sub, outcomes.Gen = c.sub, c.gen
	s.Send(&outcomes)
	s.Flush()
}

func (c *consumer) Received(_ *peer.Session, list []peer.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range list {
		switch m := m.(type) {
		case *peer.Deliver:
			c.delivered(m)
		case *peer.Committed:
			for _, x := range m.Items {
				if h := c.held[x.Seq]; h != nil && h.count == x.Count && h.outcome != 0 {
					delete(c.held, x.Seq)
					if h.outcome == peer.Accepted {
						c.done++
					}
				}
			}
		case *peer.Ended:
			c.t.Errorf("ended: %+v", m)
		}
	}
}

func (c *consumer) delivered(d *peer.Deliver) {
	c.used++
	switch {
	case c.held[d.Seq] != nil:
		c.t.Errorf("%d is delivered while it is held", d.Seq)
	case c.got[d.Seq] && !d.Redelivered:
		c.t.Errorf("%d comes again and does not say so", d.Seq)
	case !c.got[d.Seq] && d.Seq != c.next+1:
		c.t.Errorf("%d comes after %d", d.Seq, c.next)
	case string(d.Payload) != fmt.Sprintf("message %d", d.Seq):
		c.t.Errorf("%d is %q", d.Seq, d.Payload)
	}
	c.got[d.Seq] = true
	c.next = max(c.next, d.Seq)
	c.held[d.Seq] = &holding{count: d.Count}
}

func (c *consumer) Closed(*peer.Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = nil
}

func (c *consumer) confirmed() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

// settle gives up to n of what is held an outcome, mostly that it is accepted.
func (c *consumer) settle(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &peer.Outcome{Sub: c.sub, Gen: c.gen}
	for seq, h := range c.held {
		if len(m.Items) >= n {
			break
		}
		if h.outcome != 0 {
			continue
		}
		h.outcome = peer.Accepted
		if c.rnd.IntN(20) == 0 {
			h.outcome = peer.Released
		}
		m.Items = append(m.Items, peer.OutcomeItem{Seq: seq, Count: h.count, State: h.outcome})
	}
	if c.session != nil {
		c.session.Send(m)
		c.session.Send(&peer.Credit{Sub: c.sub, Gen: c.gen, Limit: c.used + 50})
		c.session.Flush()
	}
}
