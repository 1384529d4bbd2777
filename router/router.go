package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
)

// Router is one router. Make it with New, then call Run.
type Router struct {
	cfg     Config
	store   Store
	drain   func()
	budget  *endpoint.Budget
	metrics *metrics
	table   *table
	mesh    *mesh
	held    heldPublishers
	memory  *memoryMarks

	publishers publishers
	slow       slowOutlets
	routing    sync.Mutex // of neighbour.route
}

// New makes a router. Its Network may be used, but nothing moves before Run.
func New(cfg Config) (*Router, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	r := &Router{cfg: cfg, store: cfg.Store, budget: endpoint.NewBudget(cfg.Memory),
		held: heldPublishers{all: map[*publisher]struct{}{}, wake: make(chan struct{}, 1)}, slow: slowOutlets{all: map[*outlet]struct{}{}},
		publishers: publishers{all: map[*publisher]struct{}{}, wake: make(chan struct{}, 1)}}
	r.memory = newMemoryMarks(r.budget, r.publishers.pressed)
	r.metrics = newMetrics(cfg.Registerer, func() float64 { return float64(r.budget.Used()) })
	r.mesh = newMesh(r)
	r.table = newTable(r.mesh.wanted)
	return r, nil
}

// SetStore gives the router its memory, in place of Config.Store: for a store that needs the router's Network. drain is
// called when the last client is gone, while the other nodes can still be reached; it returns when the store has
// said all that it wants to say. To be called before Run.
func (r *Router) SetStore(s Store, drain func()) { r.store, r.drain = s, drain }

// Run serves until ctx is done. Then it stops from the outside in: the connections of clients are closed in an orderly way
// (amqp:connection:forced), the store is drained, and the other nodes are left. To be called once.
func (r *Router) Run(ctx context.Context) error {
	clients, stopClients := context.WithCancel(ctx)
	defer stopClients()
	rest, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRest()
	r.store.OnChange(r.held.changed)
	r.store.OnPressure(r.publishers.pressed)
	failed := make(chan error, 2)
	serve := func(ctx context.Context, l net.Listener, conn func(context.Context, net.Conn)) {
		if err := accept(ctx, l, conn); err != nil {
			failed <- fmt.Errorf("accept at %s: %w", l.Addr(), err)
			stopClients()
		}
	}
	var outer, inner sync.WaitGroup
	inner.Go(func() { r.tick(rest) })
	inner.Go(func() { r.releaseHeld(rest) })
	inner.Go(func() { r.watchPressure(rest) })
	inner.Go(func() { r.mesh.run(rest) })
	if r.cfg.Nodes != nil {
		inner.Go(func() { serve(rest, r.cfg.Nodes, r.mesh.accept) })
	}
	outer.Go(func() { serve(clients, r.cfg.Clients, r.client) })
	<-clients.Done()
	outer.Wait()
	if r.drain != nil {
		r.drain()
	}
	stopRest()
	inner.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// accept serves the connections that come to a listener, and returns when ctx is done and all are closed.
func accept(ctx context.Context, l net.Listener, serve func(context.Context, net.Conn)) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for pause := time.Duration(0); ; {
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of files, say: it may pass
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		wg.Go(func() { serve(ctx, nc) })
	}
}

// client serves a client's connection.
func (r *Router) client(ctx context.Context, nc net.Conn) {
	cfg := endpoint.Config{
		ContainerID: r.cfg.Node, MaxFrameSize: r.cfg.MaxFrameSize, ChannelMax: r.cfg.ChannelMax, HandleMax: r.cfg.HandleMax,
		MaxMessageSize: uint64(r.cfg.MaxMessageSize), IdleTimeout: r.cfg.IdleTimeout, Authenticate: r.cfg.Authenticate,
		MaxLinks: int(r.cfg.HandleMax) + 1, Budget: r.budget,
		Properties: map[amqp.Symbol]any{"product": "Posthouse", "version": r.cfg.Version, "posthouse:node": r.cfg.Node},
	}
	err := endpoint.Accept(nc, cfg, &clients{router: r}).Run(ctx)
	if err != nil {
		r.cfg.Logger.Debug("connection of a client ended", "remote", nc.RemoteAddr().String(), "error", err)
	}
}

// tick drops what has waited for too long.
func (r *Router) tick(ctx context.Context) {
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			r.slow.expire(now)
		}
	}
}

// releaseHeld lets publishers go on when the store has changed its mind.
func (r *Router) releaseHeld(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.held.wake:
			r.held.release()
		}
	}
}

// state is the outcome that a publisher is told.
func (r *Router) state(v verdict, err *amqp.Error) amqp.DeliveryState {
	if v == nothing {
		r.metrics.unrouted.Inc()
		if r.cfg.ReleaseUnrouted {
			return amqp.Released{}
		}
		return amqp.Accepted{}
	}
	return stateOf(v, err)
}

func stateOf(v verdict, err *amqp.Error) amqp.DeliveryState {
	switch v {
	case accepted:
		return amqp.Accepted{}
	case rejected:
		return amqp.Rejected{Error: err}
	case modified:
		return amqp.Modified{DeliveryFailed: true}
	}
	return amqp.Released{}
}

// Connected tells which other nodes can be reached now.
func (r *Router) Connected() map[string]bool { return r.mesh.connected() }
