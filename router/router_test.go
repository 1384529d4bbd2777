package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// start runs one router for each change of the configuration; they are all of one network.
func start(t testing.TB, change ...func(*Config)) []*Router {
	t.Helper()
	routers := build(t, change...)
	run(t, routers)
	return routers
}

// build makes routers that run is to run.
func build(t testing.TB, change ...func(*Config)) []*Router {
	t.Helper()
	configs := make([]Config, len(change))
	for i := range configs {
		configs[i] = Config{Node: string(rune('a' + i)), Cluster: "test", Clients: listen(t), Nodes: listen(t)}
	}
	for i := range configs {
		for j := range configs {
			if i != j {
				configs[i].Peers = append(configs[i].Peers, Peer{Name: configs[j].Node, Address: configs[j].Nodes.Addr().String()})
			}
		}
		change[i](&configs[i])
	}
	var routers []*Router
	for _, cfg := range configs {
		r, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		routers = append(routers, r)
	}
	return routers
}

// run runs the routers for as long as the test takes, and returns when each is connected to all others.
func run(t testing.TB, routers []*Router) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, r := range routers {
		wg.Go(func() {
			if err := r.Run(ctx); err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	for _, r := range routers {
		eventually(t, "the nodes are connected", func() bool {
			for _, up := range r.Connected() {
				if !up {
					return false
				}
			}
			return true
		})
	}
}

func plain(*Config) {}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func (r *Router) url() string { return "amqp://" + r.cfg.Clients.Addr().String() }

func background(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func session(t testing.TB, r *Router) *goamqp.Session {
	t.Helper()
	conn, err := goamqp.Dial(background(t), r.url(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s, err := conn.NewSession(background(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sender(t testing.TB, r *Router, address string, o *goamqp.SenderOptions) *goamqp.Sender {
	t.Helper()
	s, err := session(t, r).NewSender(background(t), address, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func receiver(t testing.TB, r *Router, address string, credit int32) *goamqp.Receiver {
	t.Helper()
	rcv, err := session(t, r).NewReceiver(background(t), address, &goamqp.ReceiverOptions{Credit: credit})
	if err != nil {
		t.Fatal(err)
	}
	return rcv
}

// reaches waits until a publisher at one router reaches that many outlets of an address.
func reaches(t testing.TB, r *Router, address string, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s reaches %d outlets of %s", r.cfg.Node, n, address), func() bool { return len(r.table.targets(address).all) == n })
}

func text(m *goamqp.Message) string { return string(m.GetData()) }

func send(t testing.TB, s *goamqp.Sender, body string) goamqp.DeliveryState {
	t.Helper()
	receipt, err := s.SendWithReceipt(background(t), goamqp.NewMessage([]byte(body)), nil)
	if err != nil {
		t.Fatal(err)
	}
	state, err := receipt.Wait(background(t))
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func receive(t testing.TB, r *goamqp.Receiver) *goamqp.Message {
	t.Helper()
	m, err := r.Receive(background(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMulticastReachesEverySubscriberOnceAtEveryNode(t *testing.T) {
	routers := start(t, plain, plain, plain)
	var receivers []*goamqp.Receiver
	for i := range 6 {
		receivers = append(receivers, receiver(t, routers[i%3], "news", 100))
	}
	for _, r := range routers {
		reaches(t, r, "news", 4) // two of its own, and two nodes
	}
	publishers := []*goamqp.Sender{sender(t, routers[0], "news", nil), sender(t, routers[2], "news", nil)}
	const each = 20
	var wg sync.WaitGroup
	for p, s := range publishers {
		wg.Go(func() {
			for i := range each {
				if _, ok := send(t, s, fmt.Sprintf("%d/%d", p, i)).(*goamqp.StateAccepted); !ok {
					t.Errorf("message %d/%d was not accepted", p, i)
				}
			}
		})
	}
	for i, r := range receivers {
		wg.Go(func() {
			next := [2]int{}
			for range each * len(publishers) {
				m := receive(t, r)
				var p, n int
				fmt.Sscanf(text(m), "%d/%d", &p, &n)
				if n != next[p] {
					t.Errorf("receiver %d: got %s, want number %d", i, text(m), next[p])
				}
				next[p]++
				if err := r.AcceptMessage(background(t), m); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i, r := range receivers {
		if m := r.Prefetched(); m != nil {
			t.Errorf("receiver %d got %s too much", i, text(m))
		}
	}
}

func TestOutcomes(t *testing.T) {
	for _, where := range []struct {
		name string
		at   int // the subscriber's router
	}{{"here", 0}, {"at another node", 1}} {
		t.Run(where.name, func(t *testing.T) {
			routers := start(t, plain, plain)
			r := receiver(t, routers[where.at], "a", 10)
			reaches(t, routers[0], "a", 1)
			s := sender(t, routers[0], "a", nil)
			for name, test := range map[string]struct {
				answer func(m *goamqp.Message) error
				check  func(goamqp.DeliveryState) bool
			}{
				"accepted": {func(m *goamqp.Message) error { return r.AcceptMessage(background(t), m) },
					func(s goamqp.DeliveryState) bool { _, ok := s.(*goamqp.StateAccepted); return ok }},
				"rejected": {func(m *goamqp.Message) error {
					return r.RejectMessage(background(t), m, &goamqp.Error{Condition: "test:bad", Description: "no"})
				}, func(s goamqp.DeliveryState) bool {
					x, ok := s.(*goamqp.StateRejected)
					return ok && x.Error != nil && x.Error.Condition == "test:bad"
				}},
				"released": {func(m *goamqp.Message) error { return r.ReleaseMessage(background(t), m) },
					func(s goamqp.DeliveryState) bool { _, ok := s.(*goamqp.StateReleased); return ok }},
				"modified": {func(m *goamqp.Message) error {
					return r.ModifyMessage(background(t), m, &goamqp.ModifyMessageOptions{DeliveryFailed: true})
				}, func(s goamqp.DeliveryState) bool {
					x, ok := s.(*goamqp.StateModified)
					return ok && x.DeliveryFailed
				}},
			} {
				t.Run(name, func(t *testing.T) {
					receipt, err := s.SendWithReceipt(background(t), goamqp.NewMessage([]byte(name)), nil)
					if err != nil {
						t.Fatal(err)
					}
					if err := test.answer(receive(t, r)); err != nil {
						t.Fatal(err)
					}
					state, err := receipt.Wait(background(t))
					if err != nil || !test.check(state) {
						t.Errorf("got %T %v, %v", state, state, err)
					}
				})
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	accepts := start(t, plain)[0]
	if state, ok := send(t, sender(t, accepts, "a", nil), "x").(*goamqp.StateAccepted); !ok {
		t.Errorf("unrouted: %T", state)
	}
	releases := start(t, func(c *Config) { c.ReleaseUnrouted = true })[0]
	if state, ok := send(t, sender(t, releases, "a", nil), "x").(*goamqp.StateReleased); !ok {
		t.Errorf("unrouted: %T", state)
	}
}

// A subscriber that takes nothing costs another one nothing, and its publisher only what its own window holds.
func TestASlowSubscriberSlowsNobody(t *testing.T) {
	r := start(t, func(c *Config) { c.SubscriberWindow = NewWindow(10, 1<<20, time.Minute); c.LinkCredit = 5 })[0]
	slow := receiver(t, r, "a", -1) // credit by hand: none
	fast := receiver(t, r, "a", 100)
	reaches(t, r, "a", 2)
	s := sender(t, r, "a", nil)
	for i := range 100 {
		receipt, err := s.SendWithReceipt(background(t), goamqp.NewMessage([]byte(fmt.Sprint(i))), nil)
		if err != nil {
			t.Fatal(err)
		}
		m := receive(t, fast)
		if text(m) != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", text(m), i)
		}
		if err := fast.AcceptMessage(background(t), m); err != nil {
			t.Fatal(err)
		}
		if _, err := receipt.Wait(background(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := slow.IssueCredit(100); err != nil {
		t.Fatal(err)
	}
	for i := range 10 { // what its window held
		if m := receive(t, slow); text(m) != fmt.Sprint(i) {
			t.Errorf("slow got %s, want %d", text(m), i)
		}
	}
}

func TestWhatWaitsTooLongIsReleased(t *testing.T) {
	r := start(t, func(c *Config) { c.SubscriberWindow = NewWindow(10, 1<<20, 100*time.Millisecond) })[0]
	receiver(t, r, "a", -1)
	if state, ok := send(t, sender(t, r, "a", nil), "x").(*goamqp.StateReleased); !ok {
		t.Errorf("got %T", state)
	}
}

func TestASubscriberThatLeavesGivesBack(t *testing.T) {
	for name, leave := range map[string]func(*goamqp.Receiver, *goamqp.Session){
		"detach": func(r *goamqp.Receiver, _ *goamqp.Session) { r.Close(context.Background()) },
		"end":    func(_ *goamqp.Receiver, s *goamqp.Session) { s.Close(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, plain)[0]
			ses := session(t, r)
			rcv, err := ses.NewReceiver(background(t), "a", &goamqp.ReceiverOptions{Credit: -1})
			if err != nil {
				t.Fatal(err)
			}
			receipt, err := sender(t, r, "a", nil).SendWithReceipt(background(t), goamqp.NewMessage([]byte("x")), nil)
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "it waits", func() bool {
				all := r.table.targets("a").all
				return len(all) == 1 && all[0].waits() == 1
			})
			leave(rcv, ses)
			if state, err := receipt.Wait(background(t)); err != nil {
				t.Error(err)
			} else if _, ok := state.(*goamqp.StateReleased); !ok {
				t.Errorf("got %T", state)
			}
		})
	}
}

func TestPresettled(t *testing.T) {
	const n = 3000 // more than the link's credit
	roomy := func(c *Config) { c.SubscriberWindow = NewWindow(n, 1<<20, time.Minute) }
	routers := start(t, roomy, roomy)
	here, there := receiver(t, routers[0], "a", 100), receiver(t, routers[1], "a", 100)
	reaches(t, routers[0], "a", 2)
	settled := goamqp.SenderSettleModeSettled
	s := sender(t, routers[0], "a", &goamqp.SenderOptions{SettlementMode: &settled})
	go func() {
		for i := range n {
			if err := s.Send(background(t), goamqp.NewMessage([]byte(fmt.Sprint(i))), nil); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for _, r := range []*goamqp.Receiver{here, there} {
		for i := range n {
			m := receive(t, r)
			if text(m) != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", text(m), i)
			}
			if err := r.AcceptMessage(background(t), m); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLargeMessagesCrossNodes(t *testing.T) {
	routers := start(t, plain, plain)
	r := receiver(t, routers[1], "a", 10)
	reaches(t, routers[0], "a", 1)
	body := make([]byte, 10<<20)
	for i := range body {
		body[i] = byte(i * 7)
	}
	receipt, err := sender(t, routers[0], "a", nil).SendWithReceipt(background(t), goamqp.NewMessage(body), nil)
	if err != nil {
		t.Fatal(err)
	}
	m := receive(t, r)
	if text(m) != string(body) {
		t.Error("the body has changed")
	}
	if err := r.AcceptMessage(background(t), m); err != nil {
		t.Fatal(err)
	}
	if _, err := receipt.Wait(background(t)); err != nil {
		t.Fatal(err)
	}
}

func TestBadAttachesAreRefused(t *testing.T) {
	r := start(t, plain)[0]
	var e *goamqp.Error
	for name, test := range map[string]struct {
		attach func(s *goamqp.Session) error
		want   goamqp.ErrCond
	}{
		"reserved address": {func(s *goamqp.Session) error { _, err := s.NewSender(background(t), "$waypoint/1", nil); return err }, goamqp.ErrCondNotFound},
		"no address":       {func(s *goamqp.Session) error { _, err := s.NewReceiver(background(t), "", nil); return err }, goamqp.ErrCondInvalidField},
		"dynamic source": {func(s *goamqp.Session) error {
			_, err := s.NewReceiver(background(t), "", &goamqp.ReceiverOptions{DynamicAddress: true})
			return err
		}, goamqp.ErrCondNotImplemented},
		"durable without a waypoint": {func(s *goamqp.Session) error {
			_, err := s.NewReceiver(background(t), "a", &goamqp.ReceiverOptions{SourceExpiryPolicy: goamqp.ExpiryPolicyNever, SourceDurability: goamqp.DurabilityUnsettledState})
			return err
		}, goamqp.ErrCondNotImplemented},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.attach(session(t, r))
			if !errors.As(err, &e) || e.Condition != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// Nobody gets in at the nodes' port who is not a node of this cluster.
func TestStrangersAtTheNodesPort(t *testing.T) {
	r := start(t, plain, plain)[0]
	for name, properties := range map[string]map[string]any{
		"a client":        nil,
		"another cluster": {"posthouse:cluster": "other", "posthouse:node": "b", "posthouse:mesh-version": uint32(1)},
		"an unknown node": {"posthouse:cluster": "test", "posthouse:node": "z", "posthouse:mesh-version": uint32(1)},
		"another version": {"posthouse:cluster": "test", "posthouse:node": "b", "posthouse:mesh-version": uint32(99)},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := goamqp.Dial(background(t), "amqp://"+r.cfg.Nodes.Addr().String(), &goamqp.ConnOptions{Properties: properties})
			if err == nil {
				defer conn.Close()
				_, err = conn.NewSession(background(t), nil)
			}
			if err == nil {
				t.Error("was let in")
			}
		})
	}
}

// Bodies between waypoints fit, however small the messages are that clients may send.
func TestBodiesBetweenNodesAlwaysFit(t *testing.T) {
	var got atomic.Int64
	routers := build(t, plain, func(c *Config) { c.MaxMessageSize = 64 << 10 })
	routers[1].Network().Receive(func(string, []byte) { got.Add(1) })
	run(t, routers)
	for _, size := range []int{1000, 1 << 20, 4 << 20, 1000} {
		if !routers[0].Network().Send("b", make([]byte, size)) {
			t.Fatal("no path")
		}
	}
	eventually(t, "all bodies arrive", func() bool { return got.Load() == 4 })
}
