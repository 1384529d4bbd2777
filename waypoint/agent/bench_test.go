package agent

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/peer/peertest"
)

// acceptor is a leader that keeps everything at once.
type acceptor struct{}

func (acceptor) Opened(s *peer.Session, _ *peer.Hello) {
	s.Send(&peer.Welcome{Term: 1, Lane: 1})
	s.Flush()
}

func (acceptor) Received(s *peer.Session, list []peer.Message) {
	for _, m := range list {
		if p, ok := m.(*peer.Publish); ok {
			s.Send(&peer.Answers{Through: p.Items[len(p.Items)-1].N})
		}
	}
	s.Flush()
}

func (acceptor) Closed(*peer.Session, error) {}

type done struct{ wg *sync.WaitGroup }

func (d done) Answered(Answer) { d.wg.Done() }

// BenchmarkPublish is a publish from the router to a leader on another node and its answer, without what the leader has to do, a thousand at
// a time.
func BenchmarkPublish(b *testing.B) {
	f := peertest.NewFabric()
	defer f.Close()
	open := func(name string) *peer.Hub {
		h, err := peer.Open(peer.Config{Network: f.Node(name), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		return h
	}
	ha, hb := open("a"), open("b")
	defer ha.Close()
	defer hb.Close()
	hb.Serve(1, 1, acceptor{})
	a, err := New(Config{Hub: ha, Logger: slog.New(slog.DiscardHandler), Shards: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	payload := make([]byte, 128)
	const window = 1000
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	n := 0
	var wg sync.WaitGroup
	for b.Loop() {
		wg.Add(1)
		a.Publish(Publish{Address: "a", Payload: payload, Receipt: done{&wg}})
		if n++; n%window == 0 {
			wg.Wait()
		}
	}
	wg.Wait()
}
