package router

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	goamqp "github.com/Azure/go-amqp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/posthouse/posthouse/router/amqp"
)

// fakeStore is a Store under a test's hand.
type fakeStore struct {
	NoStore
	mu        sync.Mutex
	admission Admission
	changed   func()
	published []Publish
	answer    func(p Publish) // called for each publish, if set
	subscribe func(r SubscribeRequest, c Consumer) Subscription
	pressure  Pressure
	pressed   func()
}

func (s *fakeStore) Pressure(string) Pressure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pressure
}

func (s *fakeStore) OnPressure(f func()) { s.pressed = f }

// press changes the pressure, and what is admitted with it.
func (s *fakeStore) press(level PressureLevel, reason string, a Admission) {
	s.mu.Lock()
	s.pressure, s.admission = Pressure{level, reason}, a
	s.mu.Unlock()
	s.pressed()
	s.changed()
}

func (s *fakeStore) Admit(string) Admission {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admission
}

func (s *fakeStore) admit(a Admission) {
	s.mu.Lock()
	s.admission = a
	s.mu.Unlock()
	s.changed()
}

func (s *fakeStore) OnChange(f func()) { s.changed = f }

func (s *fakeStore) Publish(p Publish) {
	s.mu.Lock()
	p.Payload = append([]byte(nil), p.Payload...)
	s.published = append(s.published, p)
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		answer(p)
	}
}

func (s *fakeStore) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.published)
}

func (s *fakeStore) Subscribe(r SubscribeRequest, c Consumer) Subscription { return s.subscribe(r, c) }

func withStore(s *fakeStore) func(*Config) { return func(c *Config) { c.Store = s } }

// A captured publish is answered by the store alone, whatever direct subscribers say.
func TestACapturedPublishIsAnsweredByTheStore(t *testing.T) {
	limit := amqp.Errorf(amqp.ErrCondResourceLimitExceeded, "full")
	for name, test := range map[string]struct {
		answer Answer
		direct func(r *goamqp.Receiver, m *goamqp.Message) error // nil: the subscriber says nothing before
		check  func(goamqp.DeliveryState, error) bool
	}{
		"kept, and the subscriber rejects": {Answer{Kind: Kept}, func(r *goamqp.Receiver, m *goamqp.Message) error {
			return r.RejectMessage(background(t), m, nil)
		}, func(s goamqp.DeliveryState, err error) bool { _, ok := s.(*goamqp.StateAccepted); return ok }},
		"refused, and the subscriber accepts": {Answer{Kind: Refused, Err: limit}, func(r *goamqp.Receiver, m *goamqp.Message) error {
			return r.AcceptMessage(background(t), m)
		}, func(s goamqp.DeliveryState, err error) bool {
			x, ok := s.(*goamqp.StateRejected)
			return ok && x.Error.Condition == goamqp.ErrCondResourceLimitExceeded
		}},
		"nobody wants it, and the subscriber rejects": {Answer{Kind: NoView}, func(r *goamqp.Receiver, m *goamqp.Message) error {
			return r.RejectMessage(background(t), m, nil)
		}, func(s goamqp.DeliveryState, err error) bool { _, ok := s.(*goamqp.StateRejected); return ok }},
		"unknown": {Answer{Kind: Unknown}, nil, func(_ goamqp.DeliveryState, err error) bool {
			var e *goamqp.LinkError
			return errors.As(err, &e) && e.RemoteErr != nil && e.RemoteErr.Condition == goamqp.ErrCondDetachForced && e.RemoteErr.Info["outcome-unknown"] == uint32(1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			store := &fakeStore{admission: Admission{Kind: Captured}}
			r := start(t, withStore(store))[0]
			rcv := receiver(t, r, "a", 10)
			reaches(t, r, "a", 1)
			receipt, err := sender(t, r, "a", nil).SendWithReceipt(background(t), goamqp.NewMessage([]byte("x")), nil)
			if err != nil {
				t.Fatal(err)
			}
			m := receive(t, rcv) // direct subscribers get theirs before the store's answer
			if test.direct != nil {
				if err := test.direct(rcv, m); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "the store has it", func() bool { return store.len() == 1 })
			store.published[0].Receipt.Answered(test.answer)
			if state, err := receipt.Wait(background(t)); !test.check(state, err) {
				t.Errorf("got %T %v", state, err)
			}
		})
	}
}

// What the store withholds waits in order, and with it everything behind it; the publisher's credit runs out.
func TestWithheldPublishesKeepTheirOrder(t *testing.T) {
	store := &fakeStore{admission: Admission{Kind: Withhold}, answer: func(p Publish) { p.Receipt.Answered(Answer{Kind: Kept}) }}
	r := start(t, withStore(store))[0]
	s := sender(t, r, "a", nil)
	const n = 500
	var receipts []goamqp.SendReceipt
	for i := range n {
		receipt, err := s.SendWithReceipt(background(t), goamqp.NewMessage([]byte(fmt.Sprint(i))), nil)
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, receipt)
		if i == n/2 {
			store.admit(Admission{Kind: Captured})
		}
	}
	for _, receipt := range receipts {
		if state, err := receipt.Wait(background(t)); err != nil {
			t.Fatalf("%T %v", state, err)
		}
	}
	for i, p := range store.published {
		var m amqp.Sections
		if err := m.Scan(p.Payload); err != nil {
			t.Fatal(err)
		}
		if got := string(m.AppendData(nil)); got != fmt.Sprint(i) {
			t.Fatalf("number %d is %s", i, got)
		}
	}
}

// Refused means refused to all: no direct subscriber gets a copy.
func TestARefusedPublishReachesNobody(t *testing.T) {
	store := &fakeStore{admission: Admission{Kind: Refuse, Err: amqp.Errorf(amqp.ErrCondResourceLimitExceeded, "full")}}
	r := start(t, withStore(store))[0]
	rcv := receiver(t, r, "a", 10)
	reaches(t, r, "a", 1)
	if state, ok := send(t, sender(t, r, "a", nil), "x").(*goamqp.StateRejected); !ok || state.Error.Condition != goamqp.ErrCondResourceLimitExceeded {
		t.Errorf("got %T %v", state, state)
	}
	store.admit(Admission{})
	if _, ok := send2(t, r, rcv, "y"); !ok {
		t.Error("the subscriber got the refused message")
	}
}

// send2 publishes a message directly and returns what the subscriber gets next.
func send2(t *testing.T, r *Router, rcv *goamqp.Receiver, body string) (string, bool) {
	t.Helper()
	receipt, err := sender(t, r, "a", nil).SendWithReceipt(background(t), goamqp.NewMessage([]byte(body)), nil)
	if err != nil {
		t.Fatal(err)
	}
	m := receive(t, rcv)
	if err := rcv.AcceptMessage(background(t), m); err != nil {
		t.Fatal(err)
	}
	if _, err := receipt.Wait(background(t)); err != nil {
		t.Fatal(err)
	}
	return text(m), text(m) == body
}

func TestACapturedMessageMayNotBeTooLarge(t *testing.T) {
	store := &fakeStore{admission: Admission{Kind: Captured}, answer: func(p Publish) { p.Receipt.Answered(Answer{Kind: Kept}) }}
	r := start(t, withStore(store))[0]
	s := sender(t, r, "a", nil)
	if state, ok := send(t, s, string(make([]byte, MaxCaptured+1))).(*goamqp.StateRejected); !ok || state.Error.Condition != goamqp.ErrCondMessageSizeExceeded {
		t.Errorf("got %T %v", state, state)
	}
	if state, ok := send(t, s, string(make([]byte, MaxCaptured-100))).(*goamqp.StateAccepted); !ok {
		t.Errorf("got %T", state)
	}
}

// fakeSubscription writes down what a client's link says.
type fakeSubscription struct {
	mu       sync.Mutex
	consumer Consumer
	credit   uint32
	drain    bool
	outcomes []string
	detached string
	held     func(*amqp.Error)
	hold     bool
	later    atomic.Int64
}

func (s *fakeSubscription) Credit(_ uint64, n uint32, drain bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credit, s.drain = n, drain
}

func (s *fakeSubscription) Outcome(h Handle, state amqp.DeliveryState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes = append(s.outcomes, fmt.Sprintf("%d %T", h.Seq, state))
}

func (s *fakeSubscription) Later(Event) { s.later.Add(1) }

func (s *fakeSubscription) Detach(e Ending, done func(*amqp.Error)) {
	s.mu.Lock()
	s.detached = fmt.Sprintf("%+v", e)
	hold := s.hold
	s.held = done
	s.mu.Unlock()
	if !hold {
		done(nil)
	}
}

func (s *fakeSubscription) get(f func() string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

func durableStore() (*fakeStore, *fakeSubscription) {
	sub := &fakeSubscription{}
	return &fakeStore{subscribe: func(r SubscribeRequest, c Consumer) Subscription {
		sub.consumer = c
		go func() {
			info := SubscriptionInfo{Properties: map[amqp.Symbol]any{"posthouse:max-messages": uint64(7)}}
			if r.Source != nil {
				info.Source = *r.Source
			}
			c.Attached(info)
		}()
		return sub
	}}, sub
}

func durableReceiver(t *testing.T, r *Router, credit int32) (*goamqp.Session, *goamqp.Receiver) {
	t.Helper()
	s := session(t, r)
	rcv, err := s.NewReceiver(background(t), "a", &goamqp.ReceiverOptions{Name: "n", Credit: credit, SourceDurability: goamqp.DurabilityUnsettledState, SourceExpiryPolicy: goamqp.ExpiryPolicyNever})
	if err != nil {
		t.Fatal(err)
	}
	return s, rcv
}

func payload(body string) []byte {
	m := amqp.Message{Header: &amqp.Header{Durable: true, Priority: 4, FirstAcquirer: true}, Data: [][]byte{[]byte(body)}}
	return m.Append(nil)
}

// A message whose header says nothing has first-acquirer=false by default: a first delivery says that it is one.
func TestAFirstDeliverySaysSo(t *testing.T) {
	store, sub := durableStore()
	r := start(t, withStore(store))[0]
	_, rcv := durableReceiver(t, r, 5)
	eventually(t, "credit is told", func() bool { return sub.get(func() string { return fmt.Sprint(sub.credit) }) == "5" })
	bare := amqp.Message{Data: [][]byte{[]byte("x")}}
	sub.consumer.Deliver(Stored{Handle: Handle{Seq: 1}, Payload: bare.Append(nil)})
	sub.consumer.Deliver(Stored{Handle: Handle{Seq: 2}, Payload: bare.Append(nil), Redelivered: true})
	if m := receive(t, rcv); m.Header == nil || !m.Header.FirstAcquirer {
		t.Errorf("first: %+v", m.Header)
	}
	if m := receive(t, rcv); m.Header != nil && m.Header.FirstAcquirer {
		t.Errorf("again: %+v", m.Header)
	}
}

// What the store sends on credit that the client has used up otherwise waits for more, in order.
func TestADeliveryWaitsForCredit(t *testing.T) {
	store, sub := durableStore()
	r := start(t, withStore(store))[0]
	_, rcv := durableReceiver(t, r, -1)
	if err := rcv.IssueCredit(1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "credit is told", func() bool { return sub.get(func() string { return fmt.Sprint(sub.credit) }) == "1" })
	for i := range 3 {
		sub.consumer.Deliver(Stored{Handle: Handle{Seq: uint64(i)}, Payload: payload(fmt.Sprint(i))})
	}
	for i := range 3 {
		if m := receive(t, rcv); text(m) != fmt.Sprint(i) {
			t.Errorf("got %s, want %d", text(m), i)
		}
		if err := rcv.IssueCredit(1); err != nil {
			t.Fatal(err)
		}
	}
	if got := sub.get(func() string { return fmt.Sprint(sub.outcomes) }); got != "[]" {
		t.Errorf("outcomes that nobody has told: %s", got)
	}
}

func TestADurableLink(t *testing.T) {
	store, sub := durableStore()
	r := start(t, withStore(store))[0]
	_, rcv := durableReceiver(t, r, 5)
	if got := fmt.Sprint(rcv.Properties()["posthouse:max-messages"]); got != "7" {
		t.Errorf("limits in the attach answer: %v", rcv.Properties())
	}
	eventually(t, "credit is told", func() bool { return sub.get(func() string { return fmt.Sprint(sub.credit) }) == "5" })

	gap := &Gap{Messages: 12, Unknown: 2, Address: "a", Causes: map[string]uint64{"max-messages": 12}, Ranges: []GapRange{{From: 3, Through: 14, Messages: 12, Cause: "max-messages"}}}
	sub.consumer.Deliver(Stored{Handle: Handle{Seq: 15}, Payload: payload("one")})
	sub.consumer.Deliver(Stored{Handle: Handle{Seq: 16, Count: 2}, Payload: payload("two"), Redelivered: true, Gap: gap})
	one, two := receive(t, rcv), receive(t, rcv)
	if text(one) != "one" || one.Header.DeliveryCount != 0 || !one.Header.FirstAcquirer || len(one.Annotations) != 0 {
		t.Errorf("first: %q %+v %v", text(one), one.Header, one.Annotations)
	}
	if text(two) != "two" || two.Header.DeliveryCount != 2 || two.Header.FirstAcquirer || !two.Header.Durable {
		t.Errorf("second: %q %+v", text(two), two.Header)
	}
	told, _ := two.Annotations["x-opt-posthouse-gap"].(map[string]any)
	if told["messages"] != uint64(12) || fmt.Sprint(told["causes"]) != "map[max-messages:12]" || told["isolated-unknown"] != uint64(2) {
		t.Errorf("gap: %v", two.Annotations)
	}
	if err := rcv.AcceptMessage(background(t), two); err != nil {
		t.Fatal(err)
	}
	if err := rcv.ReleaseMessage(background(t), one); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both outcomes are told", func() bool {
		return sub.get(func() string { return fmt.Sprint(sub.outcomes) }) == "[16 amqp.Accepted 15 amqp.Released]"
	})
}

// A client's detach is answered when its outcomes are safe; what was unsettled gets the default outcome.
func TestADurableLinksEnd(t *testing.T) {
	for name, test := range map[string]struct {
		leave func(rcv *goamqp.Receiver, s *goamqp.Session) error
		want  string
	}{
		"close the receiver": {func(rcv *goamqp.Receiver, _ *goamqp.Session) error { return rcv.Close(background(t)) }, "{Closed:true Mistaken:false Event:1}"},
		"end the session":    {func(_ *goamqp.Receiver, s *goamqp.Session) error { return s.Close(background(t)) }, "{Closed:false Mistaken:true Event:3}"},
	} {
		t.Run(name, func(t *testing.T) {
			store, sub := durableStore()
			sub.hold = name == "close the receiver"
			r := start(t, withStore(store))[0]
			s, rcv := durableReceiver(t, r, 5)
			eventually(t, "credit is told", func() bool { return sub.get(func() string { return fmt.Sprint(sub.credit) }) == "5" })
			sub.consumer.Deliver(Stored{Handle: Handle{Seq: 15}, Payload: payload("one")})
			receive(t, rcv)
			left := make(chan error, 1)
			go func() { left <- test.leave(rcv, s) }()
			eventually(t, "the detach is told", func() bool { return sub.get(func() string { return sub.detached }) == test.want })
			if got := sub.get(func() string { return fmt.Sprint(sub.outcomes) }); got != "[15 <nil>]" {
				t.Errorf("outcomes before the detach: %s", got)
			}
			if sub.hold {
				select {
				case err := <-left:
					t.Errorf("the detach was answered too early: %v", err)
				default:
				}
				sub.held(nil)
			}
			if err := <-left; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestADurableLinkThatIsStolen(t *testing.T) {
	store, sub := durableStore()
	r := start(t, withStore(store))[0]
	_, rcv := durableReceiver(t, r, 5)
	sub.consumer.Ended(amqp.Errorf(amqp.ErrCondStolen, "somebody else"))
	_, err := rcv.Receive(background(t), nil)
	var e *goamqp.LinkError
	if !errors.As(err, &e) || e.RemoteErr == nil || e.RemoteErr.Condition != goamqp.ErrCondStolen {
		t.Errorf("got %v", err)
	}
	if got := sub.get(func() string { return sub.detached }); got != "" {
		t.Errorf("the store was told of a detach that it had made itself: %s", got)
	}
}

func TestADrainOfADurableLink(t *testing.T) {
	store, sub := durableStore()
	r := start(t, withStore(store))[0]
	_, rcv := durableReceiver(t, r, -1)
	if err := rcv.IssueCredit(3); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- rcv.DrainCredit(background(t), nil) }()
	eventually(t, "the drain is told", func() bool { return sub.get(func() string { return fmt.Sprint(sub.drain) }) == "true" })
	sub.consumer.Drained()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What came presettled is not lost because its link has gone while the store withheld it.
func TestPresettledPublishesOutliveTheirLink(t *testing.T) {
	store := &fakeStore{admission: Admission{Kind: Withhold}, answer: func(p Publish) { p.Receipt.Answered(Answer{Kind: Kept}) }}
	r := start(t, withStore(store))[0]
	settled := goamqp.SenderSettleModeSettled
	s := sender(t, r, "a", &goamqp.SenderOptions{SettlementMode: &settled})
	for range 3 {
		if err := s.Send(background(t), goamqp.NewMessage([]byte("x")), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(background(t)); err != nil {
		t.Fatal(err)
	}
	store.admit(Admission{Kind: Captured})
	eventually(t, "all are published", func() bool { return store.len() == 3 })
	eventually(t, "the address is forgotten", func() bool {
		r.table.mu.Lock()
		defer r.table.mu.Unlock()
		return len(r.table.addresses) == 0
	})
}

// A session remembers a subscription once, however often its links come and go, and not one that was removed.
func TestLinksThatLeaveAreRememberedOnce(t *testing.T) {
	for name, test := range map[string]struct {
		properties map[string]any
		want       int64
	}{"removed": {nil, 0}, "kept on close": {map[string]any{"posthouse:on-close": "keep"}, 2}} {
		t.Run(name, func(t *testing.T) {
			store, sub := durableStore()
			r := start(t, withStore(store))[0]
			conn, err := goamqp.Dial(background(t), r.url(), nil)
			if err != nil {
				t.Fatal(err)
			}
			s, err := conn.NewSession(background(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			o := &goamqp.ReceiverOptions{Name: "one", SourceDurability: goamqp.DurabilityUnsettledState, SourceExpiryTimeout: 60, Properties: test.properties}
			for range 20 {
				l, err := s.NewReceiver(background(t), "news", o)
				if err != nil {
					t.Fatal(err)
				}
				if err := l.Close(background(t)); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(s.Close(background(t)), conn.Close()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the connection is gone", func() bool { return gauge(t, r.metrics.connections) == 0 })
			if got := sub.later.Load(); got != test.want {
				t.Errorf("told later %d times, want %d", got, test.want)
			}
		})
	}
}

func gauge(t *testing.T, g prometheus.Gauge) float64 {
	t.Helper()
	var m dto.Metric
	if err := g.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetGauge().GetValue()
}
