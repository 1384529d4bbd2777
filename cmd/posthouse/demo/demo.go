package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/posthouse/posthouse/test/check"
)

// What the demo publishes and subscribes to.
const (
	address      = "demo.orders"
	subscription = "billing"
	limited      = "dashboard"
	limitedKeeps = 1000
)

// demo is one run.
type demo struct {
	out      io.Writer
	messages int
	keep     bool

	cluster *cluster
	ledger  *check.Ledger
	sub     *check.Subscriber
	small   smallBacklog
	killed  string
	began   time.Time
}

// New returns the command.
func New() *cobra.Command {
	d := &demo{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See three nodes lose a leader and no message",
		Long: `Start three nodes as child processes on 127.0.0.1, publish to a durable subscription whose subscriber is away, kill -9 the
leader of its shard half-way, subscribe again at another node, and verify that every accepted message arrives exactly
once and in order. Then show a limit at work. Everything is cleaned up in the end; the exit code is 0 if nothing was
lost or doubled.`,
		Example: `  posthouse demo
  posthouse demo --messages 200000
  posthouse demo --keep        leave the cluster running, and say how to use it`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.out = cmd.OutOrStdout()
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().IntVarP(&d.messages, "messages", "n", 50_000, "messages to publish")
	cmd.Flags().BoolVar(&d.keep, "keep", false, "leave the cluster running")
	return cmd
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// run tells the story. Whatever happens, nothing is left behind unless that is wished.
func (d *demo) run(ctx context.Context) (err error) {
	if d.messages < 1000 {
		return fmt.Errorf("--messages: %d is too few to kill a leader half-way; take 1000 or more", d.messages)
	}
	d.began = time.Now()
	d.ledger = check.New()
	if d.cluster, err = newCluster(d.keep); err != nil {
		return err
	}
	defer func() {
		if d.keep && err == nil {
			d.sayHowToGoOn()
		} else {
			d.cluster.stop()
		}
	}()
	for _, step := range []func(context.Context) error{d.start, d.subscribe, d.publish, d.replay, d.showLimit} {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted; everything is cleaned up")
			}
			return fmt.Errorf("%w\n%s", err, d.cluster.logs())
		}
	}
	return d.report()
}

func (d *demo) start(ctx context.Context) error {
	d.say("Starting three nodes, each a process of its own, with its data under %s", d.cluster.dir)
	began := time.Now()
	if err := d.cluster.start(ctx); err != nil {
		return err
	}
	for _, n := range d.cluster.nodes {
		d.say("  node %s   amqp://%s   http://%s   pid %d", n.name, n.amqp, n.admin, n.cmd.Process.Pid)
	}
	leaders, err := d.cluster.leaders(ctx)
	if err != nil {
		return err
	}
	d.say("The cluster has formed in %s; leaders: %s", since(began), leaders)
	return nil
}

func since(t time.Time) string { return time.Since(t).Round(10 * time.Millisecond).String() }

func (d *demo) sayHowToGoOn() {
	d.say("\nThe cluster goes on running (data and logs in %s):", d.cluster.dir)
	for _, n := range d.cluster.nodes {
		d.say("  node %s   amqp://%s   http://%s", n.name, n.amqp, n.admin)
	}
	self, err := os.Executable()
	if err != nil {
		self = "posthouse"
	}
	n := d.cluster.alive()[0]
	d.say("Three commands to try:\n  %[1]s cluster status --api http://%[2]s\n  %[1]s sub news --durable me --url amqp://%[3]s\n  %[1]s pub news hello --url amqp://%[3]s", self, n.admin, n.amqp)
	d.say("To end it: kill%s; rm -r %s", d.cluster.pids(), d.cluster.dir)
}
