package demo

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	goamqp "github.com/Azure/go-amqp"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/test/check"
)

// sizes of the bodies, in turn: most are small, some are not.
var sizes = []int{64, 200, 128, 1024, 90, 300, 4096, 150, 700, 16384}

// publish sends all messages from three publishers, one at each node, and kills the leader of the subscription's shard
// half-way. Publishers that lose their node go on at another.
func (d *demo) publish(ctx context.Context) error {
	shard, err := d.shard(ctx)
	if err != nil {
		return err
	}
	d.say("Publishing %d messages of 64 B to 16 KiB to %s, from a publisher at each node; the subscriber is away", d.messages, address)
	began := time.Now()
	bar := newBar(d.messages)
	var answered atomic.Int64
	publishers, publishing := errgroup.WithContext(ctx)
	for i, n := range d.cluster.nodes {
		share := d.messages / len(d.cluster.nodes)
		if i == 0 {
			share += d.messages % len(d.cluster.nodes)
		}
		p := &publisher{demo: d, name: n.name, at: n, left: share, progress: func() { answered.Add(1); bar.Add(1) }}
		publishers.Go(func() error { return p.run(publishing) })
	}
	for half := int64(d.messages / 2); answered.Load() < half; {
		select {
		case <-publishing.Done():
			return publishers.Wait()
		case <-time.After(time.Millisecond):
		}
	}
	leader, err := d.cluster.leader(ctx, shard)
	if err != nil {
		return err
	}
	leader.kill()
	d.killed = leader.name
	bar.Clear()
	d.say("  half-way: kill -9 of node %s, which leads shard %d and has a publisher of its own", leader.name, shard)
	if err := publishers.Wait(); err != nil {
		return err
	}
	bar.Finish()
	now, err := d.cluster.leader(ctx, shard)
	if err != nil {
		return err
	}
	d.say("  done in %s (%.0f/s); shard %d is led by node %s now", since(began), float64(d.messages)/time.Since(began).Seconds(), shard, now.name)
	return nil
}

// newBar shows progress on a terminal.
func newBar(total int) *progressbar.ProgressBar {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return progressbar.DefaultSilent(int64(total))
	}
	return progressbar.NewOptions(total, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("  publishing"), progressbar.OptionShowCount(),
		progressbar.OptionShowIts(), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
}

// publisher sends its share, over as many links as it takes.
type publisher struct {
	demo     *demo
	name     string
	at       *child
	left     int
	links    int
	progress func()
}

func (p *publisher) run(ctx context.Context) error {
	for p.left > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.oneLink(ctx); err != nil {
			// Its node is gone: the next one that lives.
			alive := p.demo.cluster.alive()
			if len(alive) == 0 {
				return fmt.Errorf("publisher %s: no node is left: %w", p.name, err)
			}
			p.at = alive[p.links%len(alive)]
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// oneLink sends on one link until its share is sent or the link ends. Each link has a page of its own in the ledger, since
// the order that is promised is a link's.
func (p *publisher) oneLink(ctx context.Context) error {
	dialCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := goamqp.Dial(dialCtx, "amqp://"+p.at.amqp, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	link, err := client.NewPublisher(dialCtx, conn, address, "", 500)
	if err != nil {
		return err
	}
	p.links++
	page := p.demo.ledger.Publisher(fmt.Sprintf("%s%d", p.name, p.links), address)
	for p.left > 0 && err == nil {
		n, id := page.Send()
		m := goamqp.NewMessage(make([]byte, sizes[n%len(sizes)]))
		m.Header = &goamqp.MessageHeader{Durable: true, Priority: 4}
		m.Properties = &goamqp.MessageProperties{MessageID: id}
		sendCtx, cancel := context.WithTimeout(ctx, 20*time.Second)
		err = link.Publish(sendCtx, m, func(o client.Outcome, _ error) {
			page.Answered(n, outcomes[o])
			p.progress()
		})
		cancel()
		p.left--
		if err != nil {
			page.Answered(n, check.Unknown)
			p.progress()
		}
	}
	link.Flush()
	if err == nil {
		err = link.Close(dialCtx)
		if p.left == 0 {
			return nil
		}
	}
	return err
}

var outcomes = map[client.Outcome]check.Outcome{client.Accepted: check.Accepted, client.Refused: check.Refused, client.Unknown: check.Unknown}

// shard is where the subscription's messages are kept.
func (d *demo) shard(ctx context.Context) (uint32, error) {
	var s api.Subscription
	err := d.cluster.alive()[0].get(ctx, api.PathSubscriptions+"/"+subscription, &s)
	return s.Shard, err
}
