package actor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/test/check"
	"github.com/posthouse/posthouse/test/proc"
)

// Subscription is what a durable subscriber asks for, and how it takes what it gets.
type Subscription struct {
	Name    string // of the subscription; default: the actor's name, made unique in the cluster
	Address string
	Limits  map[string]any // link properties
	Credit  int32          // default 200
	Hold    int            // so many deliveries are kept unsettled, for as long as Release is not called
	Second  bool           // receiver settle mode second: it is told when an acceptance is kept, and writes that down
	User    User
	// MayBreak lists nodes that it goes to, one after the other, when its link is lost. Deliveries may be repeated then.
	MayBreak []*proc.Node
}

// Subscriber is a durable subscription with at most one link.
type Subscriber struct {
	Page *check.Subscriber // what it got

	story *Story
	actor string
	s     Subscription

	mu    sync.Mutex
	link  *link
	links int
	hold  int
	gaps  []client.Gap   // as deliveries told them
	state map[string]any // flow properties, as they came last
	gone  bool           // it left, on purpose
}

// Subscribe attaches to a durable subscription, which is new or holds nothing from before: what publishers send from now on is owed to
// it.
func (s *Story) Subscribe(name string, n *proc.Node, sub Subscription) *Subscriber {
	s.T.Helper()
	if sub.Name == "" {
		sub.Name = s.Name(name)
	}
	if sub.Credit == 0 {
		sub.Credit = 200
	}
	b := &Subscriber{story: s, actor: name, s: sub, hold: sub.Hold}
	if err := b.attach(n); err != nil {
		s.T.Fatalf("subscriber %s at node %s: %v", name, n.Name, err)
	}
	page := s.Ledger.Subscriber(s.unique(name), sub.Address)
	b.mu.Lock()
	b.Page = page
	b.mu.Unlock()
	if len(sub.MayBreak) > 0 {
		b.Page.MayRepeat()
	}
	b.link.start()
	s.onStop(func() { b.Leave() })
	return b
}

// Name is the subscription's.
func (b *Subscriber) Name() string { return b.s.Name }

// attach makes a link, which does not read yet.
func (b *Subscriber) attach(n *proc.Node) error {
	b.mu.Lock()
	b.links++
	l := &link{of: b, node: n, number: b.links, done: make(chan struct{})}
	b.mu.Unlock()
	if err := l.open(); err != nil {
		return err
	}
	b.mu.Lock()
	b.link, b.gone = l, false
	b.mu.Unlock()
	return nil
}

// Attach continues the subscription after Leave, or takes it over from the link that it has.
func (b *Subscriber) Attach(n *proc.Node) {
	b.story.T.Helper()
	b.mu.Lock()
	before := b.link
	b.mu.Unlock()
	if before != nil {
		before.expect(goamqp.ErrCondStolen)
	}
	if err := b.attach(n); err != nil {
		b.story.T.Fatalf("subscriber %s at node %s: %v", b.actor, n.Name, err)
	}
	b.current().start()
}

// Leave ends the link and keeps the subscription.
func (b *Subscriber) Leave() {
	b.mu.Lock()
	l := b.link
	b.link, b.gone = nil, true
	b.mu.Unlock()
	if l != nil {
		l.leave()
	}
}

// Unsubscribe ends the link and the subscription.
func (b *Subscriber) Unsubscribe() {
	b.story.T.Helper()
	b.mu.Lock()
	l := b.link
	b.link, b.gone = nil, true
	b.mu.Unlock()
	if err := l.unsubscribe(); err != nil {
		b.story.T.Errorf("subscriber %s unsubscribes: %v", b.actor, err)
	}
}

// Release settles what is held, and holds nothing more.
func (b *Subscriber) Release() {
	b.mu.Lock()
	b.hold = 0
	b.mu.Unlock()
	if l := b.current(); l != nil {
		l.settle()
	}
}

// MayPassBy says that a publisher's node was cut off when the subscription was made, and Whole that it is no longer: what is sent in
// between may pass the subscription by, as far as it is told.
func (b *Subscriber) MayPassBy(p *Publisher) { b.Page.MayPassBy(p.name) }
func (b *Subscriber) Whole()                 { b.story.Ledger.Whole(b.Page) }

// Got counts the different messages that it has got from a publisher.
func (b *Subscriber) Got(p *Publisher) int { return b.story.Ledger.Got(b.Page, p.name) }

// Until waits until it has got so many deliveries, all its links together.
func (b *Subscriber) Until(n int) {
	b.story.T.Helper()
	b.story.Eventually(func() bool { return b.Page.Len() >= n }, func() string {
		return fmt.Sprintf("subscriber %s got only %d of %d deliveries", b.actor, b.Page.Len(), n)
	})
}

// More waits for so many more deliveries than it has now.
func (b *Subscriber) More(n int) {
	b.story.T.Helper()
	b.Until(b.Page.Len() + n)
}

// CatchUp waits until all is answered that publishers have sent, and it has, or was told of, all that was accepted; then until
// the cluster knows that nothing is left. It is for when publishers have stopped, or End was called.
func (b *Subscriber) CatchUp() {
	b.story.T.Helper()
	b.Release()
	var missing, unanswered int
	proc.Eventually(b.story.T, 2*Patience, func() bool {
		missing, unanswered = b.story.Ledger.Owed(b.Page)
		if unanswered > 0 || missing > b.Page.ToldOf() {
			time.Sleep(20 * time.Millisecond) // to count is work
			return false
		}
		return true
	}, func() string {
		return fmt.Sprintf("subscriber %s still misses %d accepted messages (%d told as lost, %d not answered), and has got %d", b.actor, missing, b.Page.ToldOf(), unanswered, b.Page.Len())
	})
	b.Empty()
}

// Empty waits until the cluster says that the subscription's backlog is empty: nothing more can come of it.
func (b *Subscriber) Empty() {
	b.story.T.Helper()
	n := b.story.running()
	var why string
	b.story.Eventually(func() bool {
		s, err := b.story.Show(n, b.s.Name)
		why = fmt.Sprintf("subscriber %s: %d messages left, %d in flight; %s", b.actor, s.Messages, s.InFlight, errorText(err, s))
		return err == nil && s.Error == "" && s.Messages == 0
	}, func() string { return why })
}

// End removes the subscription when it has got all that was published until now.
func (b *Subscriber) End() {
	b.story.T.Helper()
	b.story.Ledger.End(b.Page)
	b.Release()
	var missing, unanswered int
	b.story.Eventually(func() bool {
		missing, unanswered = b.story.Ledger.Owed(b.Page)
		return unanswered == 0 && missing <= b.Page.ToldOf()
	}, func() string {
		return fmt.Sprintf("subscriber %s misses %d accepted messages from before its end (%d told as lost, %d not answered)", b.actor, missing, b.Page.ToldOf(), unanswered)
	})
	b.Unsubscribe()
}

// Properties are those of the last attach's answer.
func (b *Subscriber) Properties() map[string]any { return b.current().receiver.Properties() }

// State is what flows have told last, if they have.
func (b *Subscriber) State() map[string]any {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// Gaps are those that deliveries have told, in order.
func (b *Subscriber) Gaps() []client.Gap {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.gaps)
}

func (b *Subscriber) current() *link {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.link
}

// lost is called by a link that ended without being told to.
func (b *Subscriber) lost(l *link, err error) {
	b.mu.Lock()
	ours := b.link == l && !b.gone
	b.mu.Unlock()
	if !ours {
		return
	}
	if len(b.s.MayBreak) == 0 {
		b.story.errorf("subscriber %s at node %s: its link has ended: %v", b.actor, l.node.Name, err)
		return
	}
	go b.comeBack()
}

// comeBack attaches at one node after the other until one takes it.
func (b *Subscriber) comeBack() {
	for i := 0; ; i++ {
		b.mu.Lock()
		gone := b.gone
		b.mu.Unlock()
		if gone || i > 2000 {
			return
		}
		n := b.s.MayBreak[i%len(b.s.MayBreak)]
		if err := b.attach(n); err == nil {
			b.current().start()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

var errLeft = errors.New("left")

// link is one link of a subscriber, on a connection of its own.
type link struct {
	of       *Subscriber
	node     *proc.Node
	number   int
	conn     *goamqp.Conn
	session  *goamqp.Session
	receiver *goamqp.Receiver
	cancel   context.CancelCauseFunc
	done     chan struct{} // closed when nothing more is read
	started  bool

	mu       sync.Mutex
	held     []*goamqp.Message
	expected goamqp.ErrCond // how it may be ended
	ended    error
	settling sync.Mutex
	second   sync.WaitGroup
}

func (l *link) open(options ...func(*goamqp.ReceiverOptions)) (err error) {
	s := &l.of.s
	if l.conn, err = Dial(l.node, "", s.User); err != nil {
		return err
	}
	ctx, cancel := soon()
	defer cancel()
	if l.session, err = l.conn.NewSession(ctx, nil); err != nil {
		l.conn.Close()
		return err
	}
	o := &goamqp.ReceiverOptions{Name: s.Name, Credit: s.Credit, SourceDurability: goamqp.DurabilityUnsettledState, SourceExpiryPolicy: goamqp.ExpiryPolicyNever,
		Properties: map[string]any{client.PropSubscription: s.Name}, OnLinkStateProperties: l.flowed}
	for k, v := range s.Limits {
		o.Properties[k] = v
	}
	if s.Second {
		o.SettlementMode = goamqp.ReceiverSettleModeSecond.Ptr()
	}
	for _, option := range options {
		option(o)
	}
	if l.receiver, err = l.session.NewReceiver(ctx, s.Address, o); err != nil {
		l.conn.Close()
	}
	return err
}

func (l *link) flowed(properties map[string]any) {
	b := l.of
	b.mu.Lock()
	b.state = properties
	b.mu.Unlock()
	b.toldBy(properties)
}

// toldBy takes what properties of a flow, or of an attach's answer, tell of losses.
func (b *Subscriber) toldBy(properties map[string]any) {
	b.mu.Lock()
	page := b.Page
	b.mu.Unlock()
	total, ok := properties[client.PropGapTotal].(uint64)
	isolated, _ := properties[client.PropGapIsolated].(uint64)
	if ok && page != nil {
		page.ToldInAll(int(total - isolated))
		page.ToldAtMost(int(isolated))
	}
}

// expect says that the other side will end the link, with that condition.
func (l *link) expect(c goamqp.ErrCond) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected = c
}

func (l *link) start() {
	var ctx context.Context
	ctx, l.cancel = context.WithCancelCause(context.Background())
	l.started = true
	l.of.toldBy(l.receiver.Properties())
	go l.read(ctx)
}

func (l *link) read(ctx context.Context) {
	defer close(l.done)
	defer func() {
		if context.Cause(ctx) != errLeft {
			l.conn.Close()
		}
	}()
	for {
		m, err := l.receiver.Receive(ctx, nil)
		if err != nil {
			l.mu.Lock()
			l.ended = err
			expected := l.expected
			l.mu.Unlock()
			var linkErr *goamqp.LinkError
			switch {
			case context.Cause(ctx) == errLeft:
			case expected != "" && errors.As(err, &linkErr) && linkErr.RemoteErr != nil && linkErr.RemoteErr.Condition == expected:
			case expected != "":
				l.of.story.errorf("subscriber %s at node %s: its link was to end with %s, and ended with %v", l.of.actor, l.node.Name, expected, err)
			default:
				l.of.lost(l, err)
			}
			return
		}
		l.took(m)
	}
}

func (l *link) took(m *goamqp.Message) {
	b := l.of
	id, err := idOf(m)
	if err != nil {
		b.story.errorf("subscriber %s at node %s: %v", b.actor, l.node.Name, err)
	}
	d := check.Delivery{ID: id, Link: l.number}
	if m.Header != nil {
		d.Count, d.Again = m.Header.DeliveryCount, !m.Header.FirstAcquirer
	}
	if g, ok := client.GapOf(m); ok {
		b.mu.Lock()
		b.gaps = append(b.gaps, g)
		b.mu.Unlock()
	}
	b.Page.Received(d)
	l.mu.Lock()
	l.held = append(l.held, m)
	l.mu.Unlock()
	l.settle()
}

// settle accepts, from the oldest on, what is more than is to be held.
func (l *link) settle() {
	l.settling.Lock()
	defer l.settling.Unlock()
	for {
		l.of.mu.Lock()
		hold := l.of.hold
		l.of.mu.Unlock()
		l.mu.Lock()
		if len(l.held) <= hold {
			l.mu.Unlock()
			return
		}
		m := l.held[0]
		l.held = l.held[1:]
		l.mu.Unlock()
		if l.of.s.Second {
			l.second.Add(1)
			go l.acceptSecond(m)
			continue
		}
		if err := l.receiver.AcceptMessage(context.Background(), m); err != nil {
			return // the reader sees how the link has ended
		}
	}
}

// acceptSecond waits until the acceptance is settled by the other side.
func (l *link) acceptSecond(m *goamqp.Message) {
	defer l.second.Done()
	if err := l.receiver.AcceptMessage(context.Background(), m); err == nil {
		l.of.Page.Confirmed(m.Properties.MessageID.(string))
	}
}

// leave ends the session, not the link: go-amqp's Receiver.Close would delete the subscription.
func (l *link) leave() {
	l.stopReading()
	ctx, cancel := soon()
	defer cancel()
	l.session.Close(ctx)
	l.conn.Close()
	l.second.Wait()
}

func (l *link) unsubscribe() error {
	l.stopReading()
	ctx, cancel := soon()
	defer cancel()
	err := l.receiver.Close(ctx)
	l.conn.Close()
	l.second.Wait()
	return err
}

func (l *link) stopReading() {
	if l.started {
		l.cancel(errLeft)
		<-l.done
	}
}
