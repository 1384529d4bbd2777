package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/test/proc"
)

// result is what a case measured.
type result struct {
	ops  int
	took time.Duration
	p99  time.Duration // of one operation, if they were timed one by one
}

func (r result) rate() float64 { return float64(r.ops) / r.took.Seconds() }

// benchCase is one line of the table.
type benchCase struct {
	name string
	size int    // bytes a message, for the throughput
	base string // the case that its ratio is to
	run  func(e *environment) (result, error)
}

// environment is what cases share.
type environment struct {
	t      testing.TB
	nodes  []*proc.Node
	dir    string
	length time.Duration
	topic  int
}

// newTopic is an address that no case has used.
func (e *environment) newTopic() string {
	e.topic++
	return fmt.Sprintf("bench.%d", e.topic)
}

// timed calls op from n goroutines until the time is over.
func (e *environment) timed(n int, op func(worker int) error) (result, error) {
	var wg sync.WaitGroup
	counts, errs := make([]int, n), make([]error, n)
	began := time.Now()
	for w := range n {
		wg.Go(func() {
			for errs[w] == nil && time.Since(began) < e.length {
				if errs[w] = op(w); errs[w] == nil {
					counts[w]++
				}
			}
		})
	}
	wg.Wait()
	r := result{took: time.Since(began)}
	for w := range n {
		r.ops += counts[w]
		if errs[w] != nil {
			return r, errs[w]
		}
	}
	return r, nil
}

func allCases() []benchCase {
	cases := []benchCase{
		{name: "machine/fsync-4KiB", size: 4096, run: fsync},
		{name: "machine/loopback-roundtrip", run: loopback},
		{name: "machine/log-append-64KiB", size: 64 << 10, run: logAppend},
	}
	for _, size := range []int{128, 1024} {
		for _, settled := range []bool{false, true} {
			mode := map[bool]string{false: "unsettled", true: "presettled"}[settled]
			for _, subs := range []int{1, 3} {
				name := fmt.Sprintf("direct/%s/1:%d/%dB", mode, subs, size)
				base := fmt.Sprintf("direct/%s/1:1/%dB", mode, size)
				cases = append(cases, benchCase{name: name, size: size, base: base, run: direct(size, subs, settled)})
			}
		}
	}
	for _, size := range []int{128, 1024} {
		for _, publishers := range []int{1, 16, 256} {
			for _, window := range []int{1, 1000} {
				base := "machine/fsync-4KiB"
				cases = append(cases, benchCase{name: fmt.Sprintf("durable/publish/%d-publishers/window-%d/%dB", publishers, window, size), size: size, base: base, run: durable(size, publishers, window)})
			}
		}
		cases = append(cases, benchCase{name: fmt.Sprintf("durable/replay/%dB", size), size: size, base: fmt.Sprintf("durable/publish/1-publishers/window-1000/%dB", size), run: replay(size)})
	}
	for _, known := range []bool{false, true} {
		name := map[bool]string{false: "durable/attach/new-address", true: "durable/attach/known-address"}[known]
		cases = append(cases, benchCase{name: name, base: "machine/fsync-4KiB", run: attach(known)})
	}
	return append(cases, benchCase{name: "durable/ten-subscriptions/128B", size: 128, base: "durable/publish/1-publishers/window-1000/128B", run: ten(128)})
}

// fsync is how often the disk can be made to keep 4 KiB.
func fsync(e *environment) (result, error) {
	f, err := os.Create(filepath.Join(e.dir, "fsync"))
	if err != nil {
		return result{}, err
	}
	defer f.Close()
	block := make([]byte, 4096)
	return e.timed(1, func(int) error {
		if _, err := f.Write(block); err != nil {
			return err
		}
		return f.Sync()
	})
}

func loopback(e *environment) (result, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return result{}, err
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return result{}, err
	}
	defer c.Close()
	b := make([]byte, 128)
	return e.timed(1, func(int) error {
		if _, err := c.Write(b); err != nil {
			return err
		}
		_, err := io.ReadFull(c, b)
		return err
	})
}

// logAppend is the log alone: batches of one entry, synced.
func logAppend(e *environment) (result, error) {
	s, err := storage.Open(context.Background(), storage.Config{Dir: filepath.Join(e.dir, "log"), Cluster: "bench", Node: "bench", Logger: slog.New(slog.DiscardHandler), Fatal: func(msg string, err error) { panic(fmt.Sprint(msg, err)) }})
	if err != nil {
		return result{}, err
	}
	defer s.Close()
	l := s.Log(1)
	data := make([]byte, 64<<10)
	next := uint64(0)
	return e.timed(1, func(int) error {
		next++
		return l.Append([]storage.Entry{{Index: next, Term: 1, Data: data}})
	})
}

// direct is a publisher and some subscribers at one node.
func direct(size, subs int, settled bool) func(*environment) (result, error) {
	return func(e *environment) (result, error) {
		topic, node := e.newTopic(), e.nodes[0].AMQP
		var subscribers []*client
		for range subs {
			s, err := newSubscriber(node, topic, "", 5000)
			if err != nil {
				return result{}, err
			}
			defer s.close()
			subscribers = append(subscribers, s)
		}
		p, err := newPublisher(node, topic, 1000, settled)
		if err != nil {
			return result{}, err
		}
		defer p.close()
		payload := message(size)
		sent, err := e.timed(1, func(int) error { return p.publish(payload) })
		if err != nil {
			return result{}, err
		}
		began := time.Now()
		p.flush()
		sent.took += time.Since(began)
		if !settled {
			return sent, nil
		}
		// What came through counts: presettled messages that a subscriber can't take are dropped.
		for last := int64(-1); last != subscribers[0].received.Load(); time.Sleep(50 * time.Millisecond) {
			last = subscribers[0].received.Load()
		}
		sent.ops = int(subscribers[0].received.Load())
		return sent, nil
	}
}

// captured makes a durable subscription on a topic that nobody reads.
func captured(e *environment, topic string) error {
	s, err := newSubscriber(e.nodes[0].AMQP, topic, "sub-"+topic, 0)
	if err != nil {
		return err
	}
	s.close()
	return nil
}

// durable is publishing to a durable subscription whose subscriber is away. Publishers are spread over the nodes.
func durable(size, publishers, window int) func(*environment) (result, error) {
	return func(e *environment) (result, error) {
		topic := e.newTopic()
		if err := captured(e, topic); err != nil {
			return result{}, err
		}
		all := make([]*client, publishers)
		for i := range all {
			var err error
			if all[i], err = newPublisher(e.nodes[i%len(e.nodes)].AMQP, topic, window, false); err != nil {
				return result{}, err
			}
			defer all[i].close()
		}
		payload := message(size)
		r, err := e.timed(publishers, func(w int) error { return all[w].publish(payload) })
		began := time.Now()
		for _, p := range all {
			p.flush()
			if n := p.refused.Load(); n > 0 && err == nil {
				err = fmt.Errorf("%d messages were not accepted", n)
			}
		}
		r.took += time.Since(began)
		return r, err
	}
}

// replay is reading a backlog, each message confirmed.
func replay(size int) func(*environment) (result, error) {
	return func(e *environment) (result, error) {
		topic := e.newTopic()
		if err := captured(e, topic); err != nil {
			return result{}, err
		}
		p, err := newPublisher(e.nodes[0].AMQP, topic, 5000, false)
		if err != nil {
			return result{}, err
		}
		defer p.close()
		payload := message(size)
		const backlog = 100_000
		for range backlog {
			if err := p.publish(payload); err != nil {
				return result{}, err
			}
		}
		p.flush()
		began := time.Now()
		s, err := newSubscriber(e.nodes[1%len(e.nodes)].AMQP, topic, "sub-"+topic, 5000)
		if err != nil {
			return result{}, err
		}
		defer s.close()
		return result{ops: backlog, took: wait(s, backlog, began)}, nil
	}
}

func wait(s *client, n int64, began time.Time) time.Duration {
	for s.received.Load() < n {
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}

// ten is one topic with ten durable subscriptions, published to and consumed at once: operations are deliveries.
func ten(size int) func(*environment) (result, error) {
	return func(e *environment) (result, error) {
		topic := e.newTopic()
		var subs []*client
		for i := range 10 {
			s, err := newSubscriber(e.nodes[i%len(e.nodes)].AMQP, topic, fmt.Sprintf("sub-%s-%d", topic, i), 2000)
			if err != nil {
				return result{}, err
			}
			defer s.close()
			subs = append(subs, s)
		}
		p, err := newPublisher(e.nodes[0].AMQP, topic, 1000, false)
		if err != nil {
			return result{}, err
		}
		defer p.close()
		payload := message(size)
		began := time.Now()
		sent, err := e.timed(1, func(int) error { return p.publish(payload) })
		if err != nil {
			return result{}, err
		}
		p.flush()
		r := result{}
		for _, s := range subs {
			r.took = wait(s, int64(sent.ops), began)
			r.ops += sent.ops
		}
		return r, nil
	}
}
