package raft

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
	"github.com/posthouse/posthouse/storage"
)

// outgoing are the replicas that this leader is seeding with the shard's state. The log behind the snapshot record that
// each was promised is kept until it has caught up: otherwise it would need the next snapshot before it is done with
// this one, for ever.
type outgoing struct {
	group *Group

	mu   sync.Mutex
	open map[string]*seeding // by server id
}

// seeding is one replica's. All but index and attempt is guarded by outgoing.mu; an export may be closed while it is asked
// for a chunk, which then fails.
type seeding struct {
	index   uint64        // of the snapshot record promised
	attempt chan struct{} // capacity 1, full while one is made: the replication of an older term may not have ended yet

	export  *storage.Export
	used    time.Time // when the replica last took something; zero: it has not been reached yet, and nothing is kept for it
	sent    bool      // the state is over there and the ticket was taken: it replays the log
	serving int
}

func newOutgoing(g *Group) *outgoing { return &outgoing{group: g, open: map[string]*seeding{}} }

// deliver sees that the state for a snapshot is at the follower, and then has the ticket sent. It is called on Raft's
// replication goroutine, which waits for it (heartbeats have their own).
func (o *outgoing) deliver(inst *instance, to string, args *hraft.InstallSnapshotRequest, ticket func() error) error {
	s := o.begin(to, args.LastLogIndex)
	defer o.end(s)
	select {
	case s.attempt <- struct{}{}:
		defer func() { <-s.attempt }()
	case <-inst.ctx.Done():
		return ErrClosed
	}
	o.group.counts.transfers.Add(1)
	if err := o.send(inst, s, to, args); err != nil {
		o.group.counts.transfersFailed.Add(1)
		if errors.Is(err, storage.ErrExportGone) {
			o.forget(to, s)
		}
		return fmt.Errorf("seed %s: %w", to, err)
	}
	if err := ticket(); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s.sent = true
	s.closeExport()
	return nil
}

// begin returns the seeding of a replica, a new one if it was promised another snapshot.
func (o *outgoing) begin(to string, index uint64) *seeding {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.open[to]
	if s == nil || s.index != index {
		if s != nil {
			s.closeExport()
		}
		s = &seeding{index: index, attempt: make(chan struct{}, 1)}
		o.open[to] = s
	}
	s.sent = false
	s.serving++
	return s
}

func (o *outgoing) end(s *seeding) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s.serving--
}

func (o *outgoing) forget(to string, s *seeding) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open[to] == s {
		delete(o.open, to)
	}
	s.closeExport()
}

// hold says whether the log must be kept for a replica. giveUp ends that.
func (o *outgoing) hold(giveUp bool) bool {
	g := o.group
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.open) == 0 {
		return false
	}
	held := false
	reports := map[string]Report{}
	for _, r := range g.Reports() {
		reports[r.Replica] = r
	}
	for to, s := range o.open {
		if s.used.IsZero() && !giveUp {
			continue
		}
		r, member := reports[to]
		if member && r.Live && s.sent {
			s.used = time.Now() // it is catching up
		}
		caughtUp := s.sent && member && g.within(r.LastIndex)
		if giveUp || !member || caughtUp || s.serving == 0 && time.Since(s.used) > g.cfg.transferSilence() {
			delete(o.open, to)
			s.closeExport()
			if giveUp && !s.used.IsZero() {
				g.logger.Warn("the log kept for a replica that is being seeded has grown too long; it begins again", "replica", to)
			}
			continue
		}
		held = true
	}
	return held
}

// within says whether a replica whose log ends at an index will hardly miss what is cut next.
func (g *Group) within(index uint64) bool {
	if index+g.cfg.TrailingMin/2 >= g.log.Last() {
		return true
	}
	behind, err := g.log.BytesAfter(index)
	return err == nil && behind <= g.cfg.TrailingBytes/2 && index+g.cfg.TrailingMax/2 >= g.log.Last()
}

// close ends all seedings. Senders that are still at it fail.
func (o *outgoing) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for to, s := range o.open {
		s.closeExport()
		delete(o.open, to)
	}
}

// closeExport needs outgoing.mu.
func (s *seeding) closeExport() {
	if s.export != nil {
		_ = s.export.Close()
		s.export = nil
	}
}

// exportOf returns the export of a seeding, beginning it if need be.
func (o *outgoing) exportOf(inst *instance, s *seeding, to string) (*storage.Export, error) {
	o.mu.Lock()
	e := s.export
	o.mu.Unlock()
	if e != nil {
		return e, nil
	}
	e, err := o.group.state.Export(inst.ctx) // blocks for a flush
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open[to] != s {
		_ = e.Close()
		return nil, storage.ErrExportGone
	}
	s.export = e
	return e, nil
}

// send gives the follower what it asks for until it has everything.
func (o *outgoing) send(inst *instance, s *seeding, to string, args *hraft.InstallSnapshotRequest) error {
	g := o.group
	ctx, cancel := context.WithTimeout(inst.ctx, g.cfg.RPCTimeout)
	defer cancel()
	c, err := g.dial(ctx, kindTransfer, inst.id, to)
	if err != nil {
		return err
	}
	defer c.Close()
	export, err := o.exportOf(inst, s, to)
	if err != nil {
		return err
	}
	t := &transferStream{conn: c, idle: g.cfg.TransferIdle}
	if err := t.send(messageOffer, offer{Term: args.Term, Index: args.LastLogIndex, Header: export.Header()}.append(nil)); err != nil {
		return err
	}
	pace := pacer{rate: g.cfg.TransferRate, began: time.Now()}
	for {
		k, body, err := t.receive(messageMax)
		if err != nil {
			return err
		}
		o.mu.Lock()
		s.used = time.Now()
		o.mu.Unlock()
		switch k {
		case messageStaged:
			return nil
		case messageRefused:
			return fmt.Errorf("refused: %s", body)
		case messageWant:
		default:
			return fmt.Errorf("message of kind %d", k)
		}
		if inst.raft.State() != hraft.Leader || inst.raft.CurrentTerm() != args.Term {
			return ErrNotLeader // the follower keeps what it has; another leader begins anew
		}
		want, err := parseWant(body)
		if err != nil {
			return err
		}
		chunk, _, err := export.Chunk(want)
		if err != nil {
			return err
		}
		if err := pace.wait(inst.ctx, len(chunk)); err != nil {
			return err
		}
		if err := t.send(messageChunk, chunk); err != nil {
			return err
		}
		g.counts.transferBytes.Add(int64(len(chunk)))
	}
}

// pacer holds a stream to a rate.
type pacer struct {
	rate  int64 // bytes a second; < 0: no limit
	began time.Time
	sent  int64
}

func (p *pacer) wait(ctx context.Context, n int) error {
	if p.rate < 0 {
		return ctx.Err()
	}
	due := p.began.Add(time.Duration(float64(p.sent) / float64(p.rate) * float64(time.Second)))
	p.sent += int64(n)
	d := time.Until(due)
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
