package actor

import (
	"fmt"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/test/check"
	"github.com/posthouse/posthouse/test/proc"
)

// Receiver is an ordinary receiver, to whom nothing is owed. What it gets, it gets once, in order.
type Receiver struct {
	Page *check.Subscriber
	link *link
}

// Receive attaches an ordinary receiver. Credit 0 is 1000.
func (s *Story) Receive(name string, n *proc.Node, address string, credit int32) *Receiver {
	s.T.Helper()
	if credit == 0 {
		credit = 1000
	}
	conn, err := Dial(n, "", User{})
	if err != nil {
		s.T.Fatalf("receiver %s at node %s: %v", name, n.Name, err)
	}
	ctx, cancel := soon()
	defer cancel()
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		s.T.Fatalf("receiver %s at node %s: %v", name, n.Name, err)
	}
	receiver, err := session.NewReceiver(ctx, address, &goamqp.ReceiverOptions{Credit: credit})
	if err != nil {
		s.T.Fatalf("receiver %s at node %s: %v", name, n.Name, err)
	}
	page := s.Ledger.Subscriber(s.unique(name), address)
	page.MayMiss()
	b := &Subscriber{story: s, actor: name, s: Subscription{Name: name, Address: address}, Page: page}
	b.link = &link{of: b, node: n, number: 1, conn: conn, session: session, receiver: receiver, done: make(chan struct{})}
	b.link.start()
	s.onStop(func() { b.Leave() })
	return &Receiver{Page: page, link: b.link}
}

// Until waits for so many deliveries.
func (r *Receiver) Until(n int) {
	r.link.of.story.T.Helper()
	r.link.of.Until(n)
}

// More waits for so many more deliveries.
func (r *Receiver) More(n int) {
	r.link.of.story.T.Helper()
	r.link.of.More(n)
}

// Reaches publishes, one message at a time, until one has got to all the receivers.
func (s *Story) Reaches(name string, n *proc.Node, address string, receivers ...*Receiver) {
	s.T.Helper()
	p := s.Publish(name, n, address, Load{Window: 1, Every: 20 * time.Millisecond, MayBeReleased: true})
	for _, r := range receivers {
		s.Eventually(func() bool { return s.Ledger.Got(r.Page, name) > 0 }, func() string {
			return fmt.Sprintf("nothing of %d messages that were published at node %s gets to node %s", p.Sent(), n.Name, r.link.node.Name)
		})
	}
	p.Stop()
}
