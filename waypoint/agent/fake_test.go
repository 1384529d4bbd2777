package agent

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/peer/peertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a router with an agent, on node "r", and others with fake leaders of meta and of shard 1. It runs under synctest.
type world struct {
	t      *testing.T
	fabric *peertest.Fabric
	hubs   map[string]*peer.Hub
	agent  *Agent
	meta   *fakeMeta
	shard  *fakeShard
	jump   atomic.Int64 // added to the agent's clock: time in which the process stood still
	start  time.Time
	change atomic.Int64 // calls of OnChange
}

func run(t *testing.T, cfg Config, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, fabric: peertest.NewFabric(), hubs: map[string]*peer.Hub{}, start: time.Now()}
		w.meta = &fakeMeta{w: w, lease: 1500, epoch: 1, captures: map[string]bool{}, sent: map[*peer.Session]uint64{}, policy: peer.Policy{}}
		w.shard = &fakeShard{w: w, lanes: map[uint64]*fakeLane{}, cursors: map[uint64]*fakeCursor{}, nobody: map[string]bool{}}
		cfg.Hub = w.hub("r")
		cfg.Logger = slog.New(slog.DiscardHandler)
		cfg.Boot = 1
		cfg.Shards = 1
		cfg.Clock = func() time.Duration { return time.Since(w.start) + time.Duration(w.jump.Load()) }
		a, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.agent = a
		a.OnChange(func() { w.change.Add(1) })
		defer func() {
			a.Close()
			for _, h := range w.hubs {
				h.Close()
			}
			w.fabric.Close()
		}()
		f(t, w)
	})
}

func (w *world) hub(name string) *peer.Hub {
	w.t.Helper()
	if h := w.hubs[name]; h != nil {
		return h
	}
	h, err := peer.Open(peer.Config{Network: w.fabric.Node(name), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.hubs[name] = h
	return h
}

// wait lets time pass until the condition holds.
func (w *world) wait(what string, ok func() bool) {
	w.t.Helper()
	for range 10000 {
		synctest.Wait()
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("never: %s", what)
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
