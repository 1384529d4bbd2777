package raft

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
	"github.com/posthouse/posthouse/storage"
)

// incoming is the shard's state that a leader is sending here. It is staged beside the state in use, which goes on, and
// takes its place only when Raft has accepted the leader's ticket.
type incoming struct {
	group *Group

	mu     sync.Mutex
	stream net.Conn      // of the sender that is served now
	turn   chan struct{} // capacity 1, full while a stream is served
	// staged is complete and waits for its ticket; guarded by mu.
	staged *storage.Import
	header storage.Header
	asked  time.Time // when the sender was last told that it is staged
	closed bool
}

func newIncoming(g *Group) *incoming { return &incoming{group: g, turn: make(chan struct{}, 1)} }

// serve takes chunks from a leader. A newer connection ends an older one: its sender has given up, or leads no more.
func (in *incoming) serve(c net.Conn) {
	st, err := in.group.streams.add(c, true)
	if err != nil {
		return
	}
	defer st.Close()
	in.mu.Lock()
	if in.stream != nil {
		_ = in.stream.Close()
	}
	in.stream = st
	in.mu.Unlock()
	in.turn <- struct{}{} // until the older one, which has been closed, has let go of its Import
	defer func() { <-in.turn }()
	t := &transferStream{conn: st, idle: in.group.cfg.TransferIdle}
	if err := in.take(t); err != nil && in.group.ctx.Err() == nil {
		in.group.logger.Info("transfer was broken off", "error", err)
	}
	in.mu.Lock()
	if in.stream == st {
		in.stream = nil
	}
	in.mu.Unlock()
}

func (in *incoming) take(t *transferStream) error {
	g := in.group
	k, body, err := t.receive(messageMax)
	if err != nil {
		return err
	}
	if k != messageOffer {
		return fmt.Errorf("message of kind %d where an offer was due", k)
	}
	o, err := parseOffer(body)
	if err == nil && o.Header.Index < o.Index {
		err = fmt.Errorf("state at %d offered for a snapshot at %d", o.Header.Index, o.Index)
	}
	if inst := g.instance(); err == nil && (inst == nil || inst.raft.CurrentTerm() > o.Term) {
		err = fmt.Errorf("%w: its term %d is over", ErrNotLeader, o.Term)
	}
	if err != nil {
		_ = t.send(messageRefused, []byte(err.Error()))
		return err
	}
	if g.has(o.Index) || in.stagedFor(o.Header) {
		return t.send(messageStaged, nil)
	}
	return in.stage(t, o)
}

// stage asks for the chunks that are missing.
func (in *incoming) stage(t *transferStream, o offer) error {
	in.dropStaged()
	im, err := in.group.state.Import(o.Header)
	if err != nil {
		_ = t.send(messageRefused, []byte(err.Error()))
		return err
	}
	keep := false
	defer func() {
		if !keep {
			_ = im.Close() // the chunks stay for the next attempt
		}
	}()
	in.group.logger.Info("taking the state from the leader", "index", o.Header.Index, "from_chunk", im.Next())
	bad := 0
	for !im.Done() {
		if err := t.send(messageWant, appendWant(nil, im.Next())); err != nil {
			return err
		}
		k, chunk, err := t.receive(chunkMax)
		if err != nil {
			return err
		}
		if k != messageChunk {
			return fmt.Errorf("message of kind %d where a chunk was due", k)
		}
		switch _, err := im.Put(chunk); {
		case errors.Is(err, storage.ErrChunk) && bad < 3:
			bad++
		case err != nil:
			return err
		default:
			bad = 0
		}
	}
	in.mu.Lock()
	if keep = !in.closed; keep {
		in.staged, in.header, in.asked = im, o.Header, time.Now()
	}
	in.mu.Unlock()
	if !keep {
		return ErrClosed
	}
	return t.send(messageStaged, nil)
}

func (in *incoming) stagedFor(h storage.Header) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.staged == nil || in.header.ID != h.ID {
		return false
	}
	in.asked = time.Now()
	return true
}

func (in *incoming) dropStaged() {
	in.mu.Lock()
	im := in.staged
	in.staged = nil
	in.mu.Unlock()
	if im != nil {
		_ = im.Abort()
	}
}

// tidy drops what is staged when its ticket will hardly come: the replica has got there by its log, since another leader had
// it, or the sender has been silent for so long that it has given the replica up (see outgoing.hold). What is staged would else
// keep this replica from recording snapshots, and so its log from being cut, for ever.
func (in *incoming) tidy() {
	applied, _, _ := in.group.fsm.at()
	in.mu.Lock()
	header, late := in.header, time.Since(in.asked) > in.group.cfg.transferSilence()
	over := in.staged != nil && in.stream == nil && (applied >= header.Index || late)
	in.mu.Unlock()
	if over && in.group.ctx.Err() == nil {
		in.group.logger.Info("a state that was taken is dropped: its ticket has not come", "index", header.Index, "applied", applied)
		in.dropStaged()
	}
}

// takeStaged hands over what is staged, if it is enough for a snapshot at index.
func (in *incoming) takeStaged(index uint64) *storage.Import {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.staged == nil || in.header.Index < index {
		return nil
	}
	im := in.staged
	in.staged = nil
	return im
}

// busy says whether something is being taken or waits for its ticket.
func (in *incoming) busy() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.stream != nil || in.staged != nil
}

// close leaves on disk what is there. The streams have been cut and waited for.
func (in *incoming) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	if in.staged != nil {
		_ = in.staged.Close()
		in.staged = nil
	}
}

// has says whether the state in use is enough for a snapshot at index. Everything applied was committed.
func (g *Group) has(index uint64) bool {
	applied, _, _ := g.fsm.at()
	return applied >= index
}

// holds says whether a ticket for a snapshot at index can be honoured.
func (g *Group) holds(index uint64) bool {
	if g.has(index) {
		return true
	}
	g.incoming.mu.Lock()
	defer g.incoming.mu.Unlock()
	return g.incoming.staged != nil && g.incoming.header.Index >= index
}

// install puts the staged state in the place of the one in use, durably. It runs on the goroutine that applies.
func (g *Group) install(ticket *hraft.SnapshotMeta) error {
	r := makeRecord(ticket)
	g.outgoing.close() // what this replica was sending when it led
	if im := g.incoming.takeStaged(ticket.Index); im != nil && !g.has(ticket.Index) {
		if err := im.Finish(g.ctx, r); err != nil {
			_ = im.Close()
			return err
		}
		if err := im.Close(); err != nil {
			return err
		}
		g.counts.installed.Add(1)
		g.logger.Info("the state from the leader is in use", "index", ticket.Index)
		g.setMark(ticket.Index, ticket.Term)
		return nil
	} else if im != nil {
		_ = im.Abort()
	}
	if !g.has(ticket.Index) {
		return errNotStaged
	}
	// The state is there already; only Raft's log was too short. (A ticket sent twice comes here as well.)
	old, err := g.state.SnapshotRecord()
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if err == nil && old.Index >= ticket.Index {
		return nil
	}
	if err := g.state.PutSnapshotRecord(g.ctx, r); err != nil {
		return err
	}
	g.setMark(ticket.Index, ticket.Term)
	return nil
}
