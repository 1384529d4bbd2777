package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/test/check"
)

// subscribe makes two durable subscriptions, as any client can, and leaves at once.
func (d *demo) subscribe(ctx context.Context) error {
	d.say("Subscribing durably to %s at node %s, twice, and leaving:", address, d.cluster.nodes[0].name)
	for _, s := range []client.Subscription{
		{Address: address, Durable: subscription, Limits: map[string]any{client.PropMaxMessages: int64(2 * d.messages), client.PropMaxBytes: int64(1 << 30)}},
		{Address: address, Durable: limited, Limits: map[string]any{client.PropMaxMessages: int64(limitedKeeps), client.PropOverflow: "drop-oldest"}},
	} {
		sub, leave, err := attach(ctx, d.cluster.nodes[0], s)
		if err != nil {
			return err
		}
		p := sub.Properties()
		d.say("  %-10s max-messages %v, max-bytes %v, overflow %v", s.Durable, p[client.PropMaxMessages], p[client.PropMaxBytes], p[client.PropOverflow])
		if err := leave(); err != nil {
			return err
		}
	}
	d.sub = d.ledger.Subscriber(subscription, address)
	return nil
}

// attach opens a subscription at a node; leave keeps it.
func attach(ctx context.Context, n *child, s client.Subscription) (_ *client.Subscriber, leave func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	conn, err := goamqp.Dial(ctx, "amqp://"+n.amqp, nil)
	if err != nil {
		return nil, nil, err
	}
	sub, err := client.Subscribe(ctx, conn, s)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return sub, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return errors.Join(sub.Leave(ctx), conn.Close())
	}, nil
}

// other is a living node that is not where the subscriber was before.
func (d *demo) other() *child {
	alive := d.cluster.alive()
	return alive[len(alive)-1]
}

// replay subscribes again, at another node, and writes down all that comes.
func (d *demo) replay(ctx context.Context) error {
	n := d.other()
	d.say("Subscribing again as %s, at node %s: what was kept comes in order", subscription, n.name)
	began := time.Now()
	sub, leave, err := attach(ctx, n, client.Subscription{Address: address, Durable: subscription, Credit: 1000})
	if err != nil {
		return err
	}
	count := 0
	err = drain(ctx, sub, func(m *goamqp.Message) {
		id, _ := m.Properties.MessageID.(string)
		d.sub.Received(check.Delivery{ID: id, Count: m.Header.DeliveryCount, Again: !m.Header.FirstAcquirer, Confirmed: true})
		if gap, ok := client.GapOf(m); ok {
			d.sub.Told(int(gap.Messages))
		}
		count++
	})
	if err := errors.Join(err, leave()); err != nil {
		return err
	}
	took := time.Since(began) - quiet
	d.say("  %d messages, each confirmed, in %s (%.0f/s)", count, took.Round(10*time.Millisecond), float64(count)/took.Seconds())
	return nil
}

// quiet is how long nothing must come for a backlog to count as read.
const quiet = time.Second

// drain receives and confirms until nothing has come for a while.
func drain(ctx context.Context, sub *client.Subscriber, each func(*goamqp.Message)) error {
	for {
		receiveCtx, cancel := context.WithTimeout(ctx, quiet)
		m, err := sub.Receive(receiveCtx, nil)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		}
		each(m)
		if err := sub.AcceptMessage(ctx, m); err != nil {
			return fmt.Errorf("confirm: %w", err)
		}
	}
}

// smallBacklog is what the subscription with the small limit had left.
type smallBacklog struct {
	kept int
	told uint64
}

// showLimit reads the subscription that could keep only a part.
func (d *demo) showLimit(ctx context.Context) error {
	n := d.other()
	d.say("Subscribing again as %s, which may keep %d messages: the oldest were given up, and it is told", limited, limitedKeeps)
	sub, leave, err := attach(ctx, n, client.Subscription{Address: address, Durable: limited, Credit: 1000})
	if err != nil {
		return err
	}
	err = drain(ctx, sub, func(m *goamqp.Message) {
		d.small.kept++
		if gap, ok := client.GapOf(m); ok {
			d.say("  with the first message: %d messages were given up: %s", gap.Messages, gap.Reasons())
			d.small.told += gap.Messages
		}
	})
	return errors.Join(err, leave())
}
