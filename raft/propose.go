package raft

import (
	"context"
	"fmt"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
)

// enqueueLimit is how long Raft's main loop may be busy before a command is refused, not proposed.
const enqueueLimit = 5 * time.Second

// proposer carries a group's commands to Raft, in order, a few at a time, and the answers back, in the same order. What
// waits is bounded in number and bytes: Raft itself keeps whatever it is given, without end, while its followers' disks
// stand still.
type proposer struct {
	group *Group

	mu      sync.Mutex
	changed *sync.Cond
	fifo    []*proposal // not answered, oldest first
	sent    int         // of them handed to Raft
	bytes   int
	turn    uint64 // 0: none
	turns   uint64 // the last turn's number
	term    uint64 // of the turn
	n       uint64 // commands of the term so far
	clock   int64  // the latest time given to a command
	held    int    // > 0: nothing is handed to Raft
	closed  bool
}

// proposal is one command on its way.
type proposal struct {
	turn    uint64
	data    []byte
	done    func(result any, err error)
	settled bool // result and err are final
	result  any
	err     error
}

func newProposer(g *Group) *proposer {
	p := &proposer{group: g}
	p.changed = sync.NewCond(&p.mu)
	return p
}

// Propose hands a command to Raft, as the next one of the turn (Leadership.Turn). It never blocks. done is called
// once: before Propose returns, if the command is refused at once, else from a goroutine of the group, in the order of Propose; it
// must not block. result is what StateMachine.Apply returned. Every error but ErrNotLeader, ErrOverloaded and
// ErrVoid means that the outcome is unknown (ErrUnknown). data is the group's until done is called; do not change it.
func (g *Group) Propose(turn uint64, data []byte, done func(result any, err error)) {
	if err := g.proposer.enqueue(&proposal{turn: turn, data: data, done: done}); err != nil {
		done(nil, err)
	}
}

func (p *proposer) enqueue(x *proposal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed || p.turn == 0 || x.turn != p.turn:
		return ErrNotLeader
	case len(p.fifo) >= p.group.cfg.MaxProposals,
		p.bytes+len(x.data) > p.group.cfg.MaxProposalBytes && p.bytes > 0:
		p.group.counts.overloaded.Add(1)
		return ErrOverloaded
	}
	p.fifo = append(p.fifo, x)
	p.bytes += len(x.data)
	p.changed.Broadcast()
	return nil
}

// submit hands commands to Raft until the group closes.
func (p *proposer) submit() {
	for {
		x, env, ok := p.next()
		if !ok {
			return
		}
		env.time = p.stamp()
		inst := p.group.instance()
		if inst == nil {
			p.settle(x, nil, ErrNotLeader)
			continue
		}
		// Blocks while Raft's main loop is busy, and then at most for the limit.
		f := inst.raft.ApplyLog(hraft.Log{Data: x.data, Extensions: env.append(nil)}, enqueueLimit)
		go func() {
			if err := f.Error(); err != nil {
				p.settle(x, nil, definite(err))
				return
			}
			r := f.Response().(applyResult)
			switch {
			case r.void:
				p.settle(x, nil, ErrVoid)
			case r.err != nil:
				p.settle(x, nil, fmt.Errorf("%w: %w", ErrUnknown, r.err))
			default:
				p.settle(x, r.value, nil)
			}
		}()
	}
}

// next waits for the next command that may be handed over and numbers it.
func (p *proposer) next() (*proposal, envelope, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.closed && p.sent == len(p.fifo) {
			return nil, envelope{}, false
		}
		if p.held == 0 && p.sent < len(p.fifo) && p.sent < p.group.cfg.MaxInFlight && !p.fifo[p.sent].settled {
			x := p.fifo[p.sent]
			p.sent++
			p.n++
			return x, envelope{term: p.term, n: p.n}, true
		}
		p.changed.Wait()
	}
}

// stamp is the time for a command: never lower than for the one before.
func (p *proposer) stamp() int64 {
	bound, ok := p.group.majorityTime()
	p.mu.Lock()
	defer p.mu.Unlock()
	if ok {
		p.clock = max(p.clock, bound)
	}
	return p.clock
}

// settle makes the outcome of a command final. A failure ends the turn at once: what was built upon it is void.
func (p *proposer) settle(x *proposal, result any, err error) {
	if err != nil {
		p.endTurn(x.turn, ErrVoid)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !x.settled {
		x.settled, x.result, x.err = true, result, err
		p.changed.Broadcast()
	}
}

// complete answers, in order, until the group closes.
func (p *proposer) complete() {
	for {
		p.mu.Lock()
		for len(p.fifo) == 0 && !p.closed || len(p.fifo) > 0 && !p.fifo[0].settled {
			p.changed.Wait()
		}
		if len(p.fifo) == 0 {
			p.mu.Unlock()
			return
		}
		x := p.fifo[0]
		p.fifo[0] = nil
		p.fifo = p.fifo[1:]
		p.bytes -= len(x.data)
		if p.sent > 0 {
			p.sent--
		}
		p.changed.Broadcast()
		p.mu.Unlock()
		x.done(x.result, x.err)
	}
}

// beginTurn lets commands be proposed. Nothing of an earlier turn is in flight.
func (p *proposer) beginTurn(term, n uint64, clock int64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0
	}
	p.turns++
	p.turn, p.term, p.n = p.turns, term, n
	p.clock = max(p.clock, clock)
	return p.turn
}

// endTurn ends a turn, whichever it is if turn is 0. What was not handed to Raft yet is refused with err.
func (p *proposer) endTurn(turn uint64, err error) {
	p.mu.Lock()
	if p.turn == 0 || turn != 0 && turn != p.turn {
		p.mu.Unlock()
		return
	}
	p.turn = 0
	for _, x := range p.fifo[p.sent:] {
		if !x.settled {
			x.settled, x.err = true, err
		}
	}
	p.changed.Broadcast()
	p.mu.Unlock()
	p.group.turnEnded()
}

// drained waits until nothing is handed to Raft and unanswered.
func (p *proposer) drained(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changed.Broadcast()
	})()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.sent > 0 && ctx.Err() == nil {
		p.changed.Wait()
	}
	return ctx.Err()
}

// hold keeps commands from being handed to Raft until release.
func (p *proposer) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held++
}

func (p *proposer) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held--
	p.changed.Broadcast()
}

// abandon answers what Raft was shut down without answering.
func (p *proposer) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.fifo[:p.sent] {
		if !x.settled {
			x.settled, x.err = true, fmt.Errorf("%w: %w", ErrUnknown, ErrClosed)
		}
	}
	p.changed.Broadcast()
}

// shut takes no more.
func (p *proposer) shut() {
	p.endTurn(0, ErrNotLeader)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.changed.Broadcast()
}

// load is how much waits or is in flight.
func (p *proposer) load() (n, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.fifo), p.bytes
}

// now is the time for a command of the present turn; false if there is none.
func (p *proposer) now() (int64, bool) {
	p.mu.Lock()
	if p.turn == 0 {
		p.mu.Unlock()
		return 0, false
	}
	p.mu.Unlock()
	return p.stamp(), true
}
