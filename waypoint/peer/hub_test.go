package peer_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/peer/peertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shard uint32 = 1

// world runs a test on a fabric under synctest, so that time passes at once.
func world(t *testing.T, f func(t *testing.T, w *testWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &testWorld{t: t, fabric: peertest.NewFabric(), hubs: map[string]*peer.Hub{}}
		defer func() {
			for _, h := range w.hubs {
				h.Close()
			}
			w.fabric.Close()
		}()
		f(t, w)
	})
}

type testWorld struct {
	t      *testing.T
	fabric *peertest.Fabric
	hubs   map[string]*peer.Hub
	jump   atomic.Int64 // added to the hubs' time
}

func (w *testWorld) hub(name string) *peer.Hub {
	w.t.Helper()
	if h := w.hubs[name]; h != nil {
		return h
	}
	h, err := peer.Open(peer.Config{Network: w.fabric.Node(name), Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Now().Add(time.Duration(w.jump.Load())) }})
	if err != nil {
		w.t.Fatal(err)
	}
	w.hubs[name] = h
	return h
}

// recorder is a Server and a Client that writes down what it is told.
type recorder struct {
	term    uint64 // as a server: welcomes in it; 0 refuses
	leader  string // as a server: named when refusing
	boot    uint64 // as a client
	mu      sync.Mutex
	events  []string
	session *peer.Session
	hellos  []*peer.Hello
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

func (r *recorder) current() *peer.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.session
}

// server

type server struct{ *recorder }

func (r server) Opened(s *peer.Session, hello *peer.Hello) {
	r.note("opened by %s", s.Node())
	r.mu.Lock()
	r.session = s
	r.hellos = append(r.hellos, hello)
	r.mu.Unlock()
	if r.term == 0 {
		s.Refuse(r.leader)
		return
	}
	s.Send(&peer.Welcome{Term: r.term, Lane: 7, Last: 3})
	s.Flush()
}

func (r server) Received(s *peer.Session, list []peer.Message) { r.received(list) }
func (r server) Closed(s *peer.Session, err error)             { r.note("closed: %v", err) }

// client

type client struct{ *recorder }

func (r client) Hello() *peer.Hello { return &peer.Hello{Router: "r", Boot: r.boot} }

func (r client) Opened(s *peer.Session, w *peer.Welcome) {
	r.mu.Lock()
	r.session = s
	r.mu.Unlock()
	r.note("welcome by %s term %d lane %d last %d", s.Node(), w.Term, w.Lane, w.Last)
}

func (r client) Received(s *peer.Session, list []peer.Message) { r.received(list) }
func (r client) Closed(s *peer.Session, err error)             { r.note("closed: %v", err) }

func (r *recorder) received(list []peer.Message) {
	for _, m := range list {
		switch m := m.(type) {
		case *peer.Publish:
			for _, item := range m.Items {
				r.note("publish %d", item.N)
			}
		case *peer.Answers:
			r.note("answers %d", m.Through)
		default:
			r.note("%v", m.Kind())
		}
	}
}

func want(t *testing.T, who string, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s:\n got %q\nwant %q", who, got, want)
	}
}

func TestSessionOpensAndCarries(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		sv, cl := server{&recorder{term: 5}}, client{&recorder{boot: 9}}
		w.hub("b").Serve(shard, 5, sv)
		w.hub("a").Dial(shard, cl)
		synctest.Wait()
		want(t, "server", sv.take(), "opened by a")
		want(t, "client", cl.take(), "welcome by b term 5 lane 7 last 3")
		if h := sv.hellos[0]; h.Boot != 9 || h.Router != "r" || h.Term != 0 {
			t.Fatalf("hello %+v", h)
		}
		for n := range uint64(3) {
			cl.current().Send(&peer.Publish{Items: []peer.PublishItem{{N: n + 4, Address: "x", Payload: []byte("p")}}})
		}
		cl.current().Flush()
		sv.current().Send(&peer.Answers{Through: 6})
		sv.current().Flush()
		synctest.Wait()
		want(t, "server", sv.take(), "publish 4", "publish 5", "publish 6")
		want(t, "client", cl.take(), "answers 6")

		// Nothing happens for a long time, and the session is still there.
		time.Sleep(time.Minute)
		synctest.Wait()
		want(t, "server", sv.take())
		want(t, "client", cl.take())
	})
}

func TestSessionOnOneNode(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		sv, cl := server{&recorder{term: 1}}, client{&recorder{}}
		w.hub("a").Serve(peer.MetaGroup, 1, sv)
		w.hub("a").Dial(peer.MetaGroup, cl)
		synctest.Wait()
		want(t, "client", cl.take(), "welcome by a term 1 lane 7 last 3")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		want(t, "client", cl.take())
		want(t, "server", sv.take(), "opened by a")
	})
}

func TestDialWaitsForALeader(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		cl, sv := client{&recorder{}}, server{&recorder{term: 2}}
		w.hub("a").Dial(shard, cl)
		time.Sleep(time.Hour)
		w.hub("b").Serve(shard, 2, sv)
		synctest.Wait()
		want(t, "client", cl.take(), "welcome by b term 2 lane 7 last 3")
	})
}

func TestNotLeaderNamesTheNodeToAsk(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		no, yes, cl := server{&recorder{leader: "c"}}, server{&recorder{term: 3}}, client{&recorder{}}
		w.hub("c").Serve(shard, 3, yes)
		w.hub("b").Serve(shard, 4, no) // the newest advertisement is wrong
		start := time.Now()
		w.hub("a").Dial(shard, cl)
		for time.Since(start) < time.Second && cl.current() == nil {
			time.Sleep(time.Millisecond)
		}
		want(t, "client", cl.take(), "welcome by c term 3 lane 7 last 3")
		// It stays there, though the network goes on to name the other.
		w.fabric.Heal("x", "y")
		synctest.Wait()
		want(t, "client", cl.take())
	})
}

func TestSessionFollowsTheLeader(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		old, next, cl := server{&recorder{term: 3}}, server{&recorder{term: 4}}, client{&recorder{}}
		w.hub("b").Serve(shard, 3, old)
		w.hub("a").Dial(shard, cl)
		synctest.Wait()
		w.hub("c").Serve(shard, 4, next)
		synctest.Wait()
		want(t, "client", cl.take(), "welcome by b term 3 lane 7 last 3", "closed: "+peer.ErrMoved.Error(), "welcome by c term 4 lane 7 last 3")
		want(t, "old", old.take(), "opened by a", "closed: "+peer.ErrReset.Error())
		if h := next.hellos[0]; h.Term != 3 {
			t.Fatalf("hello's term is %d, want the highest seen, 3", h.Term)
		}
	})
}

func TestOldTermIsNotTaken(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		old, next, cl := server{&recorder{term: 3}}, server{&recorder{term: 4}}, client{&recorder{}}
		w.hub("b").Serve(shard, 3, old)
		w.hub("c").Serve(shard, 4, next)
		w.hub("a").Dial(shard, cl)
		synctest.Wait()
		want(t, "client", cl.take(), "welcome by c term 4 lane 7 last 3")
		w.fabric.Cut("a", "c")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		want(t, "client", cl.take(), "closed: "+peer.ErrMoved.Error())
		if len(old.take()) == 0 {
			t.Fatal("the old leader was not even asked: the test shows nothing")
		}
		w.fabric.Heal("a", "c")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		want(t, "client", cl.take(), "welcome by c term 4 lane 7 last 3")
	})
}

func TestServiceStopResets(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		sv, cl := server{&recorder{term: 3}}, client{&recorder{}}
		v := w.hub("b").Serve(shard, 3, sv)
		w.hub("a").Dial(shard, cl)
		synctest.Wait()
		v.Stop()
		synctest.Wait()
		want(t, "server", sv.take(), "opened by a") // no Closed
		want(t, "client", cl.take(), "welcome by b term 3 lane 7 last 3", "closed: "+peer.ErrReset.Error())
		if _, ok := w.hub("a").Resolve(shard); ok {
			t.Fatal("still advertised")
		}
		sv2 := server{&recorder{term: 4}}
		w.hub("b").Serve(shard, 4, sv2)
		time.Sleep(time.Second)
		want(t, "client", cl.take(), "welcome by b term 4 lane 7 last 3")
	})
}

func TestLossEndsASession(t *testing.T) {
	send := func(s *peer.Session, up bool, n uint64) {
		if up {
			s.Send(&peer.Publish{Items: []peer.PublishItem{{N: n}}})
		} else {
			s.Send(&peer.Answers{Through: n})
		}
		s.Flush()
	}
	for _, test := range []struct {
		name      string
		up, later bool // which way; whether another body follows the lost one
	}{
		{"up, seen by the next body", true, true},
		{"up, seen by a ping", true, false},
		{"down, seen by the next body", false, true},
		{"down, seen by a pong", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			world(t, func(t *testing.T, w *testWorld) {
				sv, cl := server{&recorder{term: 3}}, client{&recorder{}}
				w.hub("b").Serve(shard, 3, sv)
				w.hub("a").Dial(shard, cl)
				synctest.Wait()
				sv.take()
				cl.take()
				from, to, s := "b", "a", sv.current()
				if test.up {
					from, to, s = "a", "b", cl.current()
				}
				w.fabric.LoseNext(from, to, 1)
				send(s, test.up, 1)
				if test.later {
					send(s, test.up, 2)
				} else {
					time.Sleep(2 * time.Second)
				}
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				gap, reset := "closed: "+peer.ErrGap.Error(), "closed: "+peer.ErrReset.Error()
				again := "welcome by b term 3 lane 7 last 3"
				if test.up {
					want(t, "server", sv.take(), gap, "opened by a")
					want(t, "client", cl.take(), reset, again)
				} else {
					want(t, "server", sv.take(), reset, "opened by a")
					want(t, "client", cl.take(), gap, again)
				}
			})
		})
	}
}

func TestSilenceEndsASession(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		sv, cl := server{&recorder{term: 3}}, client{&recorder{}}
		w.hub("b").Serve(shard, 3, sv)
		w.hub("a").Dial(shard, cl)
		synctest.Wait()
		sv.take()
		cl.take()
		w.fabric.Lose("a", "b")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		silent := "closed: " + peer.ErrSilent.Error()
		want(t, "server", sv.take(), silent)
		want(t, "client", cl.take(), silent)
		w.fabric.Heal("a", "b")
		time.Sleep(5 * time.Second)
		want(t, "server", sv.take(), "opened by a")
		want(t, "client", cl.take(), "welcome by b term 3 lane 7 last 3")
	})
}

func TestOwnerClosesQuietly(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		sv, cl := server{&recorder{term: 3}}, client{&recorder{}}
		w.hub("b").Serve(shard, 3, sv)
		d := w.hub("a").Dial(shard, cl)
		synctest.Wait()
		cl.current().Close("test")
		synctest.Wait()
		want(t, "client", cl.take(), "welcome by b term 3 lane 7 last 3", "welcome by b term 3 lane 7 last 3")
		want(t, "server", sv.take(), "opened by a", "closed: "+peer.ErrReset.Error(), "opened by a")
		d.Close()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		want(t, "client", cl.take())
		want(t, "server", sv.take(), "closed: "+peer.ErrReset.Error())
	})
}

func TestLargeAndManyMessagesArriveInOrder(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		sv, cl := server{&recorder{term: 3}}, client{&recorder{}}
		w.hub("b").Serve(shard, 3, sv)
		w.hub("a").Dial(shard, cl)
		synctest.Wait()
		sv.take()
		var expect []string
		sizes := []int{10, peer.BatchBytes - 100, 10, peer.MaxMessage, 10, 30000, 30000, 30000, peer.BatchBytes, 1}
		for i, size := range sizes {
			cl.current().Send(&peer.Publish{Items: []peer.PublishItem{{N: uint64(i), Payload: make([]byte, size)}}})
			expect = append(expect, fmt.Sprintf("publish %d", i))
		}
		cl.current().Flush()
		synctest.Wait()
		want(t, "server", sv.take(), expect...)
	})
}

func TestCallLeader(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		a, b, c := w.hub("a"), w.hub("b"), w.hub("c")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()

		// b's leadership is news to nobody but b; c is the leader, at first without an answer.
		b.Serve(shard, 9, server{&recorder{}})
		b.Handle(shard, func(from, op string, body []byte, reply func([]byte, error)) {
			reply(nil, &peer.NotLeaderError{Leader: "c"})
		})
		asked := 0
		c.Handle(shard, func(from, op string, body []byte, reply func([]byte, error)) {
			switch asked++; asked {
			case 1: // no answer
			case 2:
				reply(nil, errors.New("busy"))
			default:
				reply([]byte(from+" "+op+" "+string(body)), nil)
			}
		})
		got, err := a.CallLeader(ctx, shard, "op", []byte("body"))
		if err != nil || string(got) != "a op body" {
			t.Fatalf("%q, %v", got, err)
		}
		if asked != 3 {
			t.Fatalf("asked %d times", asked)
		}
	})
}

func TestCallErrors(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		a, b := w.hub("a"), w.hub("b")
		for _, test := range []struct {
			name  string
			reply error
			check func(error) bool
		}{
			{"refused", fmt.Errorf("x: %w", peer.Errorf("amqp:not-found", "no %s", "such")), func(err error) bool {
				var e *peer.Error
				return errors.As(err, &e) && e.Condition == "amqp:not-found" && e.Description == "no such"
			}},
			{"not leader", &peer.NotLeaderError{Leader: "z"}, func(err error) bool {
				var e *peer.NotLeaderError
				return errors.As(err, &e) && e.Leader == "z"
			}},
			{"other", errors.New("disk"), func(err error) bool {
				var e *peer.UnavailableError
				return errors.As(err, &e) && e.Text == "disk"
			}},
		} {
			b.Handle(shard, func(from, op string, body []byte, reply func([]byte, error)) { reply(nil, test.reply) })
			if _, err := a.Call(t.Context(), "b", shard, "op", nil); !test.check(err) {
				t.Errorf("%s: %v", test.name, err)
			}
		}
		b.Handle(shard, nil)
		var notLeader *peer.NotLeaderError
		if _, err := a.Call(t.Context(), "b", shard, "op", nil); !errors.As(err, &notLeader) {
			t.Errorf("no handler: %v", err)
		}
		if _, err := a.Call(t.Context(), "nowhere", shard, "op", nil); !errors.Is(err, peer.ErrNoPath) {
			t.Errorf("no path: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := a.CallLeader(ctx, shard, "op", nil); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, peer.ErrNoLeader) {
			t.Errorf("no leader: %v", err)
		}
	})
}

// A call to a leader that is no more ends when the network names another, not when its time is over.
func TestCallFollowsTheLeader(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		a, b, c := w.hub("a"), w.hub("b"), w.hub("c")
		b.Serve(shard, 1, server{&recorder{}})
		b.Handle(shard, func(from, op string, body []byte, reply func([]byte, error)) {})
		done := make(chan error)
		go func() {
			_, err := a.CallLeader(t.Context(), shard, "op", nil)
			done <- err
		}()
		time.Sleep(time.Second)
		c.Handle(shard, func(from, op string, body []byte, reply func([]byte, error)) { reply(nil, nil) })
		c.Serve(shard, 2, server{&recorder{}})
		start := time.Now()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > time.Second {
			t.Fatalf("took %v", d)
		}
	})
}

// The end of a session may be lost; the leader hears of it at the latest when the agent opens another, and before.
func TestNewSessionEndsTheOlder(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		sv, cl := server{&recorder{term: 3}}, client{&recorder{}}
		w.hub("b").Serve(shard, 3, sv)
		w.hub("a").Dial(shard, cl)
		synctest.Wait()
		w.fabric.LoseNext("a", "b", 1)
		cl.current().Close("lost")
		synctest.Wait()
		want(t, "server", sv.take(), "opened by a", "closed: "+peer.ErrReplaced.Error(), "opened by a")
	})
}

// A process that stood still does not take its own silence for the others'.
func TestStandingStillIsNotSilence(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		sv, cl := server{&recorder{term: 3}}, client{&recorder{}}
		w.hub("b").Serve(shard, 3, sv)
		w.hub("a").Dial(shard, cl)
		pass := func() { time.Sleep(600 * time.Millisecond); synctest.Wait() }
		pass()
		w.jump.Store(int64(10 * time.Second))
		pass()
		want(t, "server", sv.take(), "opened by a")
		want(t, "client", cl.take(), "welcome by b term 3 lane 7 last 3")
	})
}

// What can't be read ends the session that it came in, whose next one is good again; what belongs to none is answered with a reset at most.
func TestMalformedBodyEndsTheSession(t *testing.T) {
	world(t, func(t *testing.T, w *testWorld) {
		sv, cl := server{&recorder{term: 3}}, client{&recorder{}}
		w.hub("b").Serve(shard, 3, sv)
		w.hub("a").Dial(shard, cl)
		synctest.Wait()
		sv.take()
		cl.take()
		body := func(dir byte, id uint64, rest ...byte) []byte {
			b := append([]byte{peer.Version, dir, 0, 0, 0, byte(shard)}, binary.BigEndian.AppendUint64(nil, id)...)
			return append(binary.BigEndian.AppendUint64(b, 2), rest...)
		}
		a, id := w.fabric.Node("a"), sv.current().ID()
		for _, bad := range [][]byte{nil, {1, 2, 3}, body(9, id), body(1, 12345, 200, 0, 0, 0, 0), body(1, 12345), body(2, id, byte(peer.KindAnswers), 0, 0, 0, 0)} {
			a.Send("b", bad)
		}
		synctest.Wait()
		want(t, "server", sv.take())
		a.Send("b", body(1, id, 200, 0, 0, 0, 0)) // a kind that there is not
		synctest.Wait()
		got := sv.take()
		if len(got) != 2 || !strings.Contains(got[0], peer.ErrMalformed.Error()) || got[1] != "opened by a" {
			t.Fatalf("%q", got)
		}
		want(t, "client", cl.take(), "closed: "+peer.ErrReset.Error(), "welcome by b term 3 lane 7 last 3")
	})
}
