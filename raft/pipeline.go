package raft

import (
	"sync"

	hraft "github.com/hashicorp/raft"
)

// pipeline stands around hashicorp/raft's own, which deadlocks: when a response makes the leader abort the pipeline (a
// refusal, a newer term), the goroutine that takes responses ends; the next response then blocks the one that decodes them,
// and that one the sender, which never comes to see that it should stop. Replication to that follower stands still for as
// long as the leader leads, and Shutdown waits for it for ever. Here responses are always taken.
type pipeline struct {
	hraft.AppendPipeline
	out    chan hraft.AppendFuture
	closed chan struct{}
	once   sync.Once
	done   chan struct{}
}

// pipelineSlack is how many responses wait for a taker. After the taker has gone the sender sees it at each send with a chance
// of a half at least, so that many are never sent.
const pipelineSlack = 256

func newPipeline(p hraft.AppendPipeline) *pipeline {
	w := &pipeline{AppendPipeline: p, out: make(chan hraft.AppendFuture, pipelineSlack), closed: make(chan struct{}), done: make(chan struct{})}
	go w.take()
	return w
}

func (p *pipeline) take() {
	defer close(p.done)
	for {
		select {
		case f := <-p.AppendPipeline.Consumer():
			select {
			case p.out <- f:
			case <-p.closed:
				return
			}
		case <-p.closed:
			return
		}
	}
}

// Consumer implements hraft.AppendPipeline.
func (p *pipeline) Consumer() <-chan hraft.AppendFuture { return p.out }

// Close implements hraft.AppendPipeline.
func (p *pipeline) Close() error {
	p.once.Do(func() { close(p.closed) })
	err := p.AppendPipeline.Close()
	<-p.done
	return err
}
