package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	goamqp "github.com/Azure/go-amqp"
)

// Outcome is what a publisher learns of a message.
type Outcome uint8

const (
	Accepted Outcome = iota + 1 // by the durable subscriptions' shard, or by a direct subscriber
	Refused                     // rejected, released or modified: it is not kept
	Unknown                     // the link or connection ended first
)

func (o Outcome) String() string {
	switch o {
	case Accepted:
		return "accepted"
	case Refused:
		return "refused"
	}
	return "unknown"
}

// Publisher sends to one address over one link, with at most a window of messages unanswered.
type Publisher struct {
	session *goamqp.Session
	sender  *goamqp.Sender
	pending chan pending
	done    chan struct{}

	mu    sync.Mutex
	idle  *sync.Cond
	count int // sent and not answered
}

type pending struct {
	receipt  goamqp.SendReceipt
	answered func(Outcome, error)
}

// NewPublisher attaches a sending link to address on a session of its own. An empty name is a random one.
func NewPublisher(ctx context.Context, conn *goamqp.Conn, address, name string, window int) (*Publisher, error) {
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin session: %w", err)
	}
	unsettled := goamqp.SenderSettleModeUnsettled
	sender, err := session.NewSender(ctx, address, &goamqp.SenderOptions{Name: name, SettlementMode: &unsettled})
	if err != nil {
		session.Close(ctx)
		return nil, fmt.Errorf("attach to %s: %w", address, err)
	}
	p := &Publisher{session: session, sender: sender, pending: make(chan pending, window), done: make(chan struct{})}
	p.idle = sync.NewCond(&p.mu)
	go p.wait()
	return p, nil
}

// Publish sends a message and returns when it is on its way; it blocks while the window is full or the node gives
// no credit. answered is called once, in the order of Publish, from a goroutine of the publisher; a non-nil error
// says why the outcome is not Accepted. When Publish itself returns an error, answered is not called: the message
// was not sent, except if ctx ended in the middle, where its outcome is unknown.
func (p *Publisher) Publish(ctx context.Context, m *goamqp.Message, answered func(Outcome, error)) error {
	receipt, err := p.sender.SendWithReceipt(ctx, m, nil)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.count++
	p.mu.Unlock()
	p.pending <- pending{receipt, answered}
	return nil
}

func (p *Publisher) wait() {
	defer close(p.done)
	for q := range p.pending {
		state, err := q.receipt.Wait(context.Background())
		q.answered(outcome(state, err))
		p.mu.Lock()
		p.count--
		if p.count == 0 {
			p.idle.Broadcast()
		}
		p.mu.Unlock()
	}
}

func outcome(state goamqp.DeliveryState, err error) (Outcome, error) {
	if err != nil {
		return Unknown, err
	}
	switch s := state.(type) {
	case *goamqp.StateAccepted:
		return Accepted, nil
	case *goamqp.StateRejected:
		if s.Error != nil {
			return Refused, s.Error
		}
		return Refused, errors.New("rejected")
	default:
		return Refused, fmt.Errorf("not taken: %T", state)
	}
}

// Flush waits until all that was published is answered.
func (p *Publisher) Flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.count > 0 {
		p.idle.Wait()
	}
}

// Close flushes and ends the link. Call it once, after the last Publish has returned.
func (p *Publisher) Close(ctx context.Context) error {
	close(p.pending)
	<-p.done
	return errors.Join(p.sender.Close(ctx), p.session.Close(ctx))
}
