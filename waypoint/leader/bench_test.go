package leader

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// benchRaft applies at once, on a goroutine of its own, as a group would: what a turn costs without fsync and network.
type benchRaft struct {
	machine *shard.Machine
	state   *storage.State
	ch      chan proposal
	wg      sync.WaitGroup
	index   uint64
}

func (f *benchRaft) run() {
	b := f.state.NewBatch()
	defer b.Close()
	for p := range f.ch {
		f.index++
		res := f.machine.Apply(b, shard.Entry{Index: f.index, Time: f.Now(), Data: p.data})
		if err := b.Commit(f.index); err != nil {
			panic(err)
		}
		f.machine.Applied(f.index)
		p.done(res, nil)
	}
}

func (f *benchRaft) Propose(_ uint64, data []byte, done func(any, error)) {
	f.ch <- proposal{data, done}
}
func (f *benchRaft) Now() int64                         { return time.Now().UnixMilli() }
func (f *benchRaft) VerifyLeader(context.Context) error { return nil }

// benchSession counts what it hears.
type benchSession struct {
	mu    sync.Mutex
	moved *sync.Cond
	lane  uint64
	count uint64 // publishes answered, or deliveries
	list  []peer.OutcomeItem
}

func newBenchSession() *benchSession {
	s := new(benchSession)
	s.moved = sync.NewCond(&s.mu)
	return s
}

func (s *benchSession) Node() string  { return "n" }
func (s *benchSession) Refuse(string) {}
func (s *benchSession) Close(string)  {}
func (s *benchSession) Flush()        { s.moved.Broadcast() }

func (s *benchSession) Send(m peer.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m := m.(type) {
	case *peer.Welcome:
		s.lane = m.Lane
	case *peer.Answers:
		s.count = m.Through
	case *peer.Deliver:
		s.count++
		s.list = append(s.list, peer.OutcomeItem{Seq: m.Seq, Count: m.Count, State: peer.Accepted})
	}
}

// until waits until count is at least n and returns the deliveries since the last time.
func (s *benchSession) until(ok func() bool) []peer.OutcomeItem {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !ok() {
		s.moved.Wait()
	}
	list := s.list
	s.list = nil
	return list
}

func benchLeader(b *testing.B, subs int, limits peer.Limits) *server {
	b.Helper()
	fatal := func(msg string, err error) { panic(fmt.Sprint(msg, ": ", err)) }
	store, err := storage.Open(b.Context(), storage.Config{Dir: b.TempDir(), Cluster: "c", Node: "n", Reserve: -1, Fatal: fatal})
	if err != nil {
		b.Fatal(err)
	}
	state, err := store.State(1)
	if err != nil {
		b.Fatal(err)
	}
	m := shard.New(shard.Config{State: state, Fatal: fatal})
	if err := m.Restore(); err != nil {
		b.Fatal(err)
	}
	f := &benchRaft{machine: m, state: state, ch: make(chan proposal, 4)}
	f.wg.Go(f.run)
	var v *server
	ready := make(chan struct{})
	l, err := New(Config{Shard: 1, Machine: m, Raft: f, Serve: func(_ uint64, s peer.Server) func() {
		v = s.(*server)
		close(ready)
		return func() {}
	}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		l.Close()
		close(f.ch)
		f.wg.Wait()
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	l.Lead(raft.Leadership{Leader: true, Term: 1, Turn: 1})
	<-ready
	var q []byte
	for i := range subs {
		q = fmt.Appendf(q, `,{"sub":%d,"address":"news","limits":{"max_messages":%d,"max_in_flight":%d}}`, i+1, limits.MaxMessages, limits.MaxInFlight)
	}
	done := make(chan error, 1)
	l.Handle("meta", peer.OpCursors, fmt.Appendf(nil, `{"start":[%s]}`, q[1:]), func(_ []byte, err error) { done <- err })
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return v
}

// openBench opens a session.
func openBench(v *server, router string) (*benchSession, *session) {
	bs := newBenchSession()
	s := v.open(bs, &peer.Hello{Router: router, Boot: 1})
	bs.until(func() bool { return bs.lane != 0 })
	return bs, s
}

// publishAll publishes n messages within a window.
func publishAll(v *server, bs *benchSession, s *session, n, size, window int) {
	payload := bytes.Repeat([]byte("x"), size)
	sent := uint64(0)
	for sent < uint64(n) {
		bs.until(func() bool { return sent-bs.count <= uint64(window)*3/4 })
		bs.mu.Lock()
		room := uint64(window) - (sent - bs.count)
		bs.mu.Unlock()
		for room > 0 && sent < uint64(n) {
			p := &peer.Publish{}
			for size := 0; room > 0 && sent < uint64(n) && size < peer.BatchBytes; room-- {
				sent++
				p.Items = append(p.Items, peer.PublishItem{N: sent, Address: "news", Payload: payload})
				size += len(payload)
			}
			v.receive(s, []peer.Message{p})
		}
	}
	bs.until(func() bool { return bs.count >= uint64(n) })
}

// BenchmarkPublish is one publisher with a window of 1000: what leader, machine and state cost a message.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{128, 1024} {
		for _, subs := range []int{1, 10_000} {
			b.Run(fmt.Sprintf("size=%d/subscriptions=%d", size, subs), func(b *testing.B) {
				v := benchLeader(b, subs, peer.Limits{})
				bs, s := openBench(v, "r1")
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				publishAll(v, bs, s, b.N, size, 1000)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

// BenchmarkPublishOverflowing has a hundred subscriptions at their limit: each command gives up for each of them.
func BenchmarkPublishOverflowing(b *testing.B) {
	v := benchLeader(b, 100, peer.Limits{MaxMessages: 1000})
	bs, s := openBench(v, "r1")
	b.ReportAllocs()
	b.ResetTimer()
	publishAll(v, bs, s, b.N, 128, 1000)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkReplay delivers a backlog to one subscriber that confirms each message, with 1000 in flight; it is read from
// storage.
func BenchmarkReplay(b *testing.B) {
	for _, size := range []int{128, 1024} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			v := benchLeader(b, 1, peer.Limits{MaxInFlight: 1000})
			bs, s := openBench(v, "r1")
			publishAll(v, bs, s, b.N, size, 1000)
			cs, c := openBench(v, "r2")
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			v.receive(c, []peer.Message{&peer.Window{Bytes: 1 << 60}, &peer.Attach{Sub: 1, Gen: 1, Credit: 1000}})
			confirmAll(v, cs, c, uint64(b.N))
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// confirmAll accepts what comes, as it comes, until n have come.
func confirmAll(v *server, cs *benchSession, c *session, n uint64) {
	for got := uint64(0); got < n; {
		list := cs.until(func() bool { return len(cs.list) > 0 })
		got += uint64(len(list))
		v.receive(c, []peer.Message{&peer.Outcome{Sub: 1, Gen: 1, Items: list}, &peer.Credit{Sub: 1, Gen: 1, Limit: got + 1000}})
	}
}

// BenchmarkPublishAndConsume has both at once: nothing is read from storage.
func BenchmarkPublishAndConsume(b *testing.B) {
	v := benchLeader(b, 1, peer.Limits{MaxInFlight: 1000})
	bs, s := openBench(v, "r1")
	cs, c := openBench(v, "r2")
	v.receive(c, []peer.Message{&peer.Window{Bytes: 1 << 60}, &peer.Attach{Sub: 1, Gen: 1, Credit: 1000}})
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	wg.Go(func() { publishAll(v, bs, s, b.N, 128, 1000) })
	confirmAll(v, cs, c, uint64(b.N))
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
