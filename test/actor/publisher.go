package actor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/test/check"
	"github.com/posthouse/posthouse/test/proc"
)

// Load is what a publisher sends. The zero value is as fast as it can, for ever.
type Load struct {
	Window int           // messages on their way; default 1000
	Size   int           // bytes of a body; default 100
	Count  int           // it stops by itself after so many; 0: it goes on until Stop
	Every  time.Duration // pause between messages; 0: none
	// MayBreak: its node may be lost. The outcomes are unknown then, and it connects again, with a new link, until it stops.
	MayBreak bool
	// Settled: messages are sent settled, and nothing is learned of them.
	Settled bool
	// MayBeRefused: rejected messages are no fault.
	MayBeRefused bool
	// MayBeReleased: nor are those that nobody took. Somebody may have got them all the same: their outcome is unknown.
	MayBeReleased bool
}

// Publisher sends to one address at one node.
type Publisher struct {
	story   *Story
	name    string
	node    *proc.Node
	address string
	load    Load

	cancel context.CancelFunc // ends publishing
	done   chan struct{}

	mu       sync.Mutex
	sent     int
	answered map[check.Outcome]int
	last     time.Time // of the last accepted one
	refusal  error     // of the last refused one
}

// Publish starts a publisher.
func (s *Story) Publish(name string, n *proc.Node, address string, l Load) *Publisher {
	s.T.Helper()
	if l.Window == 0 {
		l.Window = 1000
	}
	if l.Size == 0 {
		l.Size = 100
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Publisher{story: s, name: name, node: n, address: address, load: l, cancel: cancel, done: make(chan struct{}), answered: map[check.Outcome]int{}}
	s.onStop(p.Stop)
	go p.run(ctx)
	return p
}

func (p *Publisher) run(ctx context.Context) {
	defer close(p.done)
	for {
		err := p.play(ctx)
		switch {
		case ctx.Err() != nil || err == nil:
			return
		case !p.load.MayBreak:
			p.story.errorf("publisher %s at node %s: %v", p.name, p.node.Name, err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond): // its node may be down for a while
		}
	}
}

// play is the life of one link.
func (p *Publisher) play(ctx context.Context) error {
	conn, err := Dial(p.node, "", User{})
	if err != nil {
		return err
	}
	defer conn.Close()
	attach, cancel := soon()
	defer cancel()
	link, err := p.attach(attach, conn)
	if err != nil {
		return err
	}
	page := p.story.Ledger.Publisher(p.story.unique(p.name), p.address)
	err = p.send(ctx, link, page)
	closing, cancel := soon()
	defer cancel()
	closeErr := link.Close(closing) // waits for all answers
	if err == nil && !p.load.MayBreak {
		err = closeErr
	}
	return err
}

// sending is a link that sends.
type sending interface {
	Publish(ctx context.Context, m *goamqp.Message, answered func(client.Outcome, error)) error
	Close(ctx context.Context) error
}

func (p *Publisher) attach(ctx context.Context, conn *goamqp.Conn) (sending, error) {
	if !p.load.Settled {
		return client.NewPublisher(ctx, conn, p.address, "", p.load.Window)
	}
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		return nil, err
	}
	sender, err := session.NewSender(ctx, p.address, &goamqp.SenderOptions{SettlementMode: goamqp.SenderSettleModeSettled.Ptr()})
	return settled{sender}, err
}

// settled sends what nobody answers.
type settled struct{ *goamqp.Sender }

func (s settled) Publish(ctx context.Context, m *goamqp.Message, answered func(client.Outcome, error)) error {
	err := s.Send(ctx, m, nil)
	if err == nil {
		answered(client.Unknown, nil)
	}
	return err
}

func (p *Publisher) send(ctx context.Context, link sending, page *check.Publisher) error {
	for i := 0; (p.load.Count == 0 || i < p.load.Count) && ctx.Err() == nil; i++ {
		n, id := page.Send()
		p.mu.Lock()
		p.sent++
		p.mu.Unlock()
		err := link.Publish(ctx, message(id, p.load.Size, true), func(o client.Outcome, err error) { p.answer(page, n, o, err) })
		if err != nil {
			page.Answered(n, check.Unknown) // it may have been sent as ctx ended
			p.count(check.Unknown, nil)
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if p.load.Every > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(p.load.Every):
			}
		}
	}
	return nil
}

var outcomes = map[client.Outcome]check.Outcome{client.Accepted: check.Accepted, client.Refused: check.Refused, client.Unknown: check.Unknown}

func (p *Publisher) answer(page *check.Publisher, n int, o client.Outcome, err error) {
	outcome := outcomes[o]
	var amqpErr *goamqp.Error
	if p.load.MayBeReleased && outcome == check.Refused && !errors.As(err, &amqpErr) {
		outcome = check.Unknown
	}
	page.Answered(n, outcome)
	p.count(outcome, err)
	p.mu.Lock()
	enough := p.answered[outcome] > 3 // one cause, told often enough
	p.mu.Unlock()
	switch {
	case enough:
	case outcome == check.Refused && !p.load.MayBeRefused:
		p.story.errorf("publisher %s at node %s: message %d was refused: %v", p.name, p.node.Name, n, err)
	case outcome == check.Unknown && !p.load.MayBreak && !p.load.MayBeReleased && !p.load.Settled:
		p.story.errorf("publisher %s at node %s: the outcome of message %d is unknown: %v", p.name, p.node.Name, n, err)
	}
}

func (p *Publisher) count(o check.Outcome, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered[o]++
	switch o {
	case check.Accepted:
		p.last = time.Now()
	case check.Refused:
		p.refusal = err
	}
}

// Accepted, Refused and Sent count messages so far.
func (p *Publisher) Accepted() int { return p.counted(check.Accepted) }
func (p *Publisher) Refused() int  { return p.counted(check.Refused) }
func (p *Publisher) Sent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
}

func (p *Publisher) counted(o check.Outcome) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answered[o]
}

// Refusal is the error of the last message that was refused.
func (p *Publisher) Refusal() *goamqp.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var e *goamqp.Error
	errors.As(p.refusal, &e)
	return e
}

// More waits until so many more messages than now are accepted.
func (p *Publisher) More(n int) {
	p.story.T.Helper()
	want := p.Accepted() + n
	p.story.Eventually(func() bool { return p.Accepted() >= want }, func() string {
		return fmt.Sprintf("publisher %s at node %s: only %d of %d messages accepted (%d sent, %d refused)", p.name, p.node.Name, p.Accepted(), want, p.Sent(), p.Refused())
	})
}

// Wait waits until it has sent its Count, and all is answered.
func (p *Publisher) Wait() {
	p.story.T.Helper()
	p.story.Eventually(func() bool {
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	}, func() string {
		return fmt.Sprintf("publisher %s at node %s has not ended: %d sent, %d accepted", p.name, p.node.Name, p.Sent(), p.Accepted())
	})
}

// Ended waits for at most so long until it has sent its Count, and all is answered.
func (p *Publisher) Ended(timeout time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(timeout):
		return false
	}
}

// Stop ends publishing and waits for all answers.
func (p *Publisher) Stop() {
	p.cancel()
	select {
	case <-p.done:
	case <-time.After(Patience):
		p.story.errorf("publisher %s at node %s: not all is answered: %d sent, %d accepted, %d refused", p.name, p.node.Name, p.Sent(), p.Accepted(), p.Refused())
	}
}
