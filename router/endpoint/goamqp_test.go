package endpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/router/amqp"
)

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func dialGo(t testing.TB, address string, opts *goamqp.ConnOptions) *goamqp.Session {
	t.Helper()
	c, err := goamqp.Dial(within(t), "amqp://"+address, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s, err := c.NewSession(within(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eachRole runs a test with go-amqp as the peer of our accepting side, and once more of our dialling side: behind the protocol headers
// AMQP has no client and server, so a go-amqp client that is given the accepted end of a socket serves as well.
func eachRole(t *testing.T, cfg Config, f func(t *testing.T, b *broker, s *goamqp.Session)) {
	t.Run("accepting", func(t *testing.T) {
		b := newBroker()
		f(t, b, dialGo(t, serve(t, cfg, func() Handler { return b }), nil))
	})
	t.Run("dialling", func(t *testing.T) {
		b := newBroker()
		ours, theirs := tcpPair(t)
		ctx, cancel := context.WithCancel(context.Background())
		c := Client(ours, cfg, b)
		ran := make(chan error, 1)
		go func() { ran <- c.Run(ctx) }()
		g, err := goamqp.NewConn(within(t), theirs, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = g.Close()
			<-ran
			cancel()
		})
		s, err := g.NewSession(within(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		f(t, b, s)
	})
}

func newGoSender(t testing.TB, s *goamqp.Session, opts *goamqp.SenderOptions) *goamqp.Sender {
	t.Helper()
	snd, err := s.NewSender(within(t), "q", opts)
	if err != nil {
		t.Fatal(err)
	}
	return snd
}

func newGoReceiver(t testing.TB, s *goamqp.Session, opts *goamqp.ReceiverOptions) *goamqp.Receiver {
	t.Helper()
	rcv, err := s.NewReceiver(within(t), "q", opts)
	if err != nil {
		t.Fatal(err)
	}
	return rcv
}

func TestGoAMQPSendsAndReceives(t *testing.T) {
	for _, second := range []bool{false, true} {
		for _, settled := range []bool{false, true} {
			t.Run(fmt.Sprintf("second=%v settled=%v", second, settled), func(t *testing.T) {
				eachRole(t, testConfig(), func(t *testing.T, b *broker, s *goamqp.Session) {
					sendsAndReceives(t, s, second, settled)
				})
			})
		}
	}
}

func sendsAndReceives(t *testing.T, s *goamqp.Session, second, settled bool) {
	sndOpts, rcvOpts := &goamqp.SenderOptions{}, &goamqp.ReceiverOptions{Credit: 10}
	if settled {
		sndOpts.SettlementMode = goamqp.SenderSettleModeSettled.Ptr()
	}
	if second {
		sndOpts.RequestedReceiverSettleMode = goamqp.ReceiverSettleModeSecond.Ptr()
		rcvOpts.SettlementMode = goamqp.ReceiverSettleModeSecond.Ptr()
	}
	snd, rcv := newGoSender(t, s, sndOpts), newGoReceiver(t, s, rcvOpts)
	const n = 200
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range n {
			if err := snd.Send(within(t), goamqp.NewMessage(fmt.Appendf(nil, "message %d", i)), nil); err != nil {
				t.Errorf("send %d: %v", i, err)
				return
			}
		}
	}()
	for i := range n {
		m, err := rcv.Receive(within(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(m.GetData()), fmt.Sprintf("message %d", i); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		if err := rcv.AcceptMessage(within(t), m); err != nil {
			t.Fatal(err)
		}
	}
	<-sent
	for _, err := range []error{snd.Close(within(t)), rcv.Close(within(t)), s.Close(within(t))} {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestGoAMQPOutcomes(t *testing.T) {
	eachRole(t, testConfig(), func(t *testing.T, b *broker, s *goamqp.Session) {
		snd, rcv := newGoSender(t, s, nil), newGoReceiver(t, s, &goamqp.ReceiverOptions{Credit: 5})
		for name, answer := range map[string]func(m *goamqp.Message) error{
			"*encoding.StateAccepted": func(m *goamqp.Message) error { return rcv.AcceptMessage(within(t), m) },
			"*encoding.StateRejected": func(m *goamqp.Message) error {
				return rcv.RejectMessage(within(t), m, &goamqp.Error{Condition: "x:y", Description: "no"})
			},
			"*encoding.StateReleased": func(m *goamqp.Message) error { return rcv.ReleaseMessage(within(t), m) },
			"*encoding.StateModified": func(m *goamqp.Message) error {
				return rcv.ModifyMessage(within(t), m, &goamqp.ModifyMessageOptions{DeliveryFailed: true, Annotations: goamqp.Annotations{"k": "v"}})
			},
		} {
			receipt, err := snd.SendWithReceipt(within(t), goamqp.NewMessage([]byte("x")), nil)
			if err != nil {
				t.Fatal(err)
			}
			m, err := rcv.Receive(within(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := answer(m); err != nil {
				t.Fatal(err)
			}
			state, err := receipt.Wait(within(t))
			if err != nil || fmt.Sprintf("%T", state) != name {
				t.Errorf("got %T (%v), want %s", state, err, name)
			}
			if r, ok := state.(*goamqp.StateRejected); ok && (r.Error == nil || r.Error.Condition != "x:y") {
				t.Errorf("got %+v", r)
			}
			if r, ok := state.(*goamqp.StateModified); ok && (!r.DeliveryFailed || r.MessageAnnotations["k"] != "v") {
				t.Errorf("got %+v", r)
			}
		}
	})
}

func TestGoAMQPLargeMessages(t *testing.T) {
	cfg := testConfig()
	cfg.Budget = NewBudget(1 << 30)
	eachRole(t, cfg, func(t *testing.T, b *broker, s *goamqp.Session) {
		snd, rcv := newGoSender(t, s, nil), newGoReceiver(t, s, &goamqp.ReceiverOptions{Credit: 2})
		for _, size := range []int{1, 500, 65000, 65536, 1 << 20, 10 << 20} {
			body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
			receipt, err := snd.SendWithReceipt(within(t), goamqp.NewMessage(body), nil)
			if err != nil {
				t.Fatal(err)
			}
			m, err := rcv.Receive(within(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m.GetData(), body) {
				t.Errorf("message of %d bytes differs", size)
			}
			_ = rcv.AcceptMessage(within(t), m)
			if _, err := receipt.Wait(within(t)); err != nil {
				t.Fatal(err)
			}
		}
		if n := cfg.Budget.Used(); n != 0 {
			t.Errorf("%d bytes left in the budget", n)
		}
	})
}

func TestGoAMQPSmallestFrames(t *testing.T) {
	b := newBroker()
	cfg := testConfig()
	cfg.MaxFrameSize = 512
	address := serve(t, cfg, func() Handler { return b })
	s := dialGo(t, address, &goamqp.ConnOptions{MaxFrameSize: 512})
	snd, rcv := newGoSender(t, s, nil), newGoReceiver(t, s, nil)
	body := bytes.Repeat([]byte("0123456789"), 5000)
	if _, err := snd.SendWithReceipt(within(t), goamqp.NewMessage(body), nil); err != nil {
		t.Fatal(err)
	}
	m, err := rcv.Receive(within(t), nil)
	if err != nil || !bytes.Equal(m.GetData(), body) {
		t.Fatalf("message differs (%v)", err)
	}
}

func TestGoAMQPDrains(t *testing.T) {
	eachRole(t, testConfig(), func(t *testing.T, b *broker, s *goamqp.Session) {
		snd, rcv := newGoSender(t, s, nil), newGoReceiver(t, s, &goamqp.ReceiverOptions{Credit: -1})
		for round := range 3 {
			if err := rcv.IssueCredit(10); err != nil {
				t.Fatal(err)
			}
			for range round {
				if _, err := snd.SendWithReceipt(within(t), goamqp.NewMessage([]byte("x")), nil); err != nil {
					t.Fatal(err)
				}
				m, err := rcv.Receive(within(t), nil)
				if err != nil {
					t.Fatal(err)
				}
				_ = rcv.AcceptMessage(within(t), m)
			}
			if err := rcv.DrainCredit(within(t), nil); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if m := rcv.Prefetched(); m != nil {
				t.Errorf("round %d: got %q", round, m.GetData())
			}
		}
	})
}

func TestGoAMQPIsRefused(t *testing.T) {
	eachRole(t, testConfig(), func(t *testing.T, b *broker, s *goamqp.Session) {
		b.refuse = func(l Link) *amqp.Error {
			if l.Name() == "unwanted" {
				return amqp.Errorf(amqp.ErrCondNotFound, "no such address")
			}
			return nil
		}
		var e *goamqp.Error
		if _, err := s.NewSender(within(t), "q", &goamqp.SenderOptions{Name: "unwanted"}); !errors.As(err, &e) || e.Condition != goamqp.ErrCondNotFound {
			t.Errorf("sender: %v", err)
		}
		if _, err := s.NewReceiver(within(t), "q", &goamqp.ReceiverOptions{Name: "unwanted"}); !errors.As(err, &e) || e.Condition != goamqp.ErrCondNotFound {
			t.Errorf("receiver: %v", err)
		}
		newGoSender(t, s, nil) // and the session lives
	})
}

func TestGoAMQPIsDetached(t *testing.T) {
	eachRole(t, testConfig(), func(t *testing.T, b *broker, s *goamqp.Session) {
		rcv := newGoReceiver(t, s, &goamqp.ReceiverOptions{Credit: 5})
		b.mu.Lock()
		ours := b.queue("q").senders[0]
		b.mu.Unlock()
		select { // for its credit
		case <-b.credit:
		case <-within(t).Done():
			t.Fatal("no credit")
		}
		// A delivery that it answers after our detach must not hurt the session.
		if _, err := ours.Send(&Outgoing{Prefix: []byte{0, 0x53, 0x75, 0xa0, 1, 'x'}, Cookie: 1}, nil); err != nil {
			t.Fatal(err)
		}
		m, err := rcv.Receive(within(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		ours.Detach(true, amqp.Errorf(amqp.ErrCondDetachForced, "moved"))
		var le *goamqp.LinkError
		if _, err := rcv.Receive(within(t), nil); !errors.As(err, &le) || le.RemoteErr == nil || le.RemoteErr.Condition != goamqp.ErrCondDetachForced {
			t.Errorf("got %v", err)
		}
		_ = rcv.AcceptMessage(within(t), m)
		newGoReceiver(t, s, nil)
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.outcome) != 1 || !b.outcome[0].Lost || !b.outcome[0].Final {
			t.Errorf("outcomes %+v", b.outcome)
		}
	})
}

func TestGoAMQPSendsTooMuch(t *testing.T) {
	cfg := testConfig()
	cfg.MaxMessageSize = 1000
	eachRole(t, cfg, func(t *testing.T, b *broker, s *goamqp.Session) {
		snd := newGoSender(t, s, nil)
		if n := snd.MaxMessageSize(); n != 1000 {
			t.Errorf("max-message-size %d", n)
		}
		var e *goamqp.Error
		if err := snd.Send(within(t), goamqp.NewMessage(make([]byte, 1000)), nil); !errors.As(err, &e) || e.Condition != goamqp.ErrCondMessageSizeExceeded {
			t.Errorf("got %v", err)
		}
	})
}

func TestGoAMQPFlowProperties(t *testing.T) {
	eachRole(t, testConfig(), func(t *testing.T, b *broker, s *goamqp.Session) {
		got := make(chan map[string]any, 1)
		newGoReceiver(t, s, &goamqp.ReceiverOptions{OnLinkStateProperties: func(p map[string]any) { got <- p }})
		b.mu.Lock()
		ours := b.queue("q").senders[0]
		b.mu.Unlock()
		ours.SetFlowProperties(map[amqp.Symbol]any{"posthouse:backlog": uint64(7)}, nil)
		select {
		case p := <-got:
			if p["posthouse:backlog"] != uint64(7) {
				t.Errorf("got %v", p)
			}
		case <-within(t).Done():
			t.Error("nothing came")
		}
	})
}

func TestGoAMQPAuthenticates(t *testing.T) {
	b := newBroker()
	cfg := testConfig()
	cfg.Authenticate = &Authentication{Anonymous: true, Check: check}
	address := serve(t, cfg, func() Handler { return b })
	for _, c := range []struct {
		sasl goamqp.SASLType
		ok   bool
	}{
		{goamqp.SASLTypePlain("alice", "secret"), true},
		{goamqp.SASLTypePlain("alice", "guess"), false},
		{goamqp.SASLTypeAnonymous(), true},
		{nil, false}, // the bare header
	} {
		conn, err := goamqp.Dial(within(t), "amqp://"+address, &goamqp.ConnOptions{SASLType: c.sasl})
		if (err == nil) != c.ok {
			t.Errorf("got %v, want success %v", err, c.ok)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

// TestGoAMQPCrowd is many clients at once, on the same queue, that come and go.
func TestGoAMQPCrowd(t *testing.T) {
	b := newBroker()
	cfg := testConfig()
	cfg.Budget = NewBudget(64 << 20)
	address := serve(t, cfg, func() Handler { return b })
	const clients, each = 8, 60
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	all := make(chan struct{})
	for i := range clients {
		wg.Add(2)
		go func() {
			defer wg.Done()
			nc, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			conn, err := goamqp.NewConn(within(t), nc, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			s, err := conn.NewSession(within(t), nil)
			if err != nil {
				t.Error(err)
				return
			}
			for j := range 3 {
				snd, err := s.NewSender(within(t), "q", nil)
				if err != nil {
					t.Error(err)
					return
				}
				for k := range each / 3 {
					if err := snd.Send(within(t), goamqp.NewMessage(fmt.Appendf(nil, "%d/%d/%d", i, j, k)), nil); err != nil {
						t.Error(err)
						return
					}
				}
				_ = snd.Close(within(t))
			}
		}()
		go func() {
			defer wg.Done()
			s := dialGo(t, address, nil)
			rcv, err := s.NewReceiver(within(t), "q", &goamqp.ReceiverOptions{Credit: 7})
			if err != nil {
				t.Error(err)
				return
			}
			ctx, cancel := context.WithCancel(within(t))
			defer cancel()
			go func() {
				<-all
				cancel()
			}()
			for {
				m, err := rcv.Receive(ctx, nil)
				if err != nil {
					return
				}
				if err := rcv.AcceptMessage(within(t), m); err != nil {
					t.Error(err)
				}
				mu.Lock()
				seen[string(m.GetData())]++
				if len(seen) == clients*each {
					close(all)
				}
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	if len(seen) != clients*each {
		t.Errorf("%d of %d messages came", len(seen), clients*each)
	}
	for m, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", m, n)
		}
	}
	if n := cfg.Budget.Used(); n != 0 {
		t.Errorf("%d bytes left in the budget", n)
	}
}
