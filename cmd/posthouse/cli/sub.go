package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	goamqp "github.com/Azure/go-amqp"
	"github.com/spf13/cobra"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/waypoint/peer"
)

type sub struct {
	*common
	durable     string
	containerID string
	limits      api.Limits
	count       int
	idle        time.Duration
	credit      int32
	unsubscribe bool
	snippet     string
}

// subMessage is a message as --output json prints it, one a line.
type subMessage struct {
	Body          string         `json:"body"`
	Subject       string         `json:"subject,omitempty"`
	MessageID     any            `json:"messageId,omitempty"`
	Properties    map[string]any `json:"properties,omitempty"`
	DeliveryCount uint32         `json:"deliveryCount,omitempty"`
	Redelivered   bool           `json:"redelivered,omitempty"`
	Gap           *client.Gap    `json:"gap,omitempty"`
}

func newSub(c *common) *cobra.Command {
	s := &sub{common: c}
	cmd := &cobra.Command{
		Use:   "sub ADDRESS",
		Short: "Subscribe and print messages",
		Long: `Subscribe to ADDRESS and print each message, confirming it. With --durable NAME the subscription outlives the command:
what is published meanwhile is kept within its limits and delivered when the same NAME subscribes again, at any node.
What was lost, to a limit or at a node that was cut off when the subscription was made, is said before the next message.
Leaving (Ctrl-C, --count, --idle) keeps the subscription; --unsubscribe deletes it.`,
		Example: `  posthouse sub orders
  posthouse sub orders --durable billing --max-messages 100000 --max-age 3d
  posthouse sub orders --durable billing --count 10 --output json
  posthouse sub orders --durable billing --print jms      a ready snippet for Qpid JMS`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&s.durable, "durable", "", "name of the durable subscription to continue, or to create")
	f.StringVar(&s.containerID, "container-id", "", "container-id of the connection (default: random)")
	readLimits := limitFlags(f, &s.limits)
	f.IntVarP(&s.count, "count", "n", 0, "leave after this many messages")
	f.DurationVar(&s.idle, "idle", 0, "leave when no message has come for this long")
	f.Int32Var(&s.credit, "credit", 100, "messages that may be on their way unconfirmed")
	f.BoolVar(&s.unsubscribe, "unsubscribe", false, "delete the subscription when leaving")
	f.StringVar(&s.snippet, "print", "", "print a program that subscribes like this, instead: go, jms, python or rhea")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := readLimits(); err != nil {
			return err
		}
		if s.durable == "" && s.limits != (api.Limits{}) {
			return usage("limits are for durable subscriptions: add --durable NAME")
		}
		if s.unsubscribe && s.durable == "" {
			return usage("--unsubscribe deletes a durable subscription: add --durable NAME")
		}
		if s.credit < 1 {
			return usage("--credit: %d is not 1 or more", s.credit)
		}
		if s.snippet != "" {
			return printSnippet(cmd.OutOrStdout(), s.snippet, s.url, args[0], s.durable, s.limits)
		}
		return s.run(cmd, args[0])
	}
	return cmd
}

// linkLimits turns limits into the link properties that the node reads.
func linkLimits(l api.Limits) (map[string]any, error) {
	p := map[string]any{}
	if l.MaxMessages != 0 {
		p[client.PropMaxMessages] = l.MaxMessages
	}
	if l.MaxBytes != 0 {
		p[client.PropMaxBytes] = l.MaxBytes
	}
	if l.MaxAge != "" {
		d, err := peer.ParseDuration(l.MaxAge)
		if err != nil {
			return nil, err
		}
		p[client.PropMaxAge] = d.Milliseconds()
	}
	if l.MaxInFlight != 0 {
		p[client.PropMaxInFlight] = l.MaxInFlight
	}
	if l.Overflow != "" {
		p[client.PropOverflow] = l.Overflow
	}
	return p, nil
}

func (s *sub) run(cmd *cobra.Command, address string) error {
	limits, err := linkLimits(s.limits)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), s.timeout)
	defer cancel()
	conn, err := goamqp.Dial(ctx, s.url, &goamqp.ConnOptions{ContainerID: s.containerID})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.url, err)
	}
	defer conn.Close()
	subscriber, err := client.Subscribe(ctx, conn, client.Subscription{Address: address, Durable: s.durable, Limits: limits, Credit: s.credit})
	if err != nil {
		return err
	}
	received, err := s.receive(cmd.Context(), subscriber, cmd.OutOrStdout(), cmd.ErrOrStderr())
	leaveCtx, cancelLeave := context.WithTimeout(context.WithoutCancel(cmd.Context()), s.timeout)
	defer cancelLeave()
	leave := subscriber.Leave
	if s.unsubscribe {
		leave = subscriber.Unsubscribe
	}
	if leaveErr := leave(leaveCtx); err == nil && leaveErr != nil {
		err = fmt.Errorf("leave: %w", leaveErr)
	}
	if s.output == "text" {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s messages\n", thousands(received))
	}
	return err
}

func (s *sub) receive(ctx context.Context, subscriber *client.Subscriber, out, notes io.Writer) (int, error) {
	for received := 0; ; {
		if s.count > 0 && received == s.count {
			return received, nil
		}
		receiveCtx, cancel := ctx, context.CancelFunc(func() {})
		if s.idle > 0 {
			receiveCtx, cancel = context.WithTimeout(ctx, s.idle)
		}
		m, err := subscriber.Receive(receiveCtx, nil)
		cancel()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
				return received, nil // Ctrl-C, or idle long enough
			}
			return received, fmt.Errorf("receive: %w", err)
		}
		if err := s.printMessage(m, out, notes); err != nil {
			return received, err
		}
		acceptCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
		err = subscriber.AcceptMessage(acceptCtx, m)
		cancel()
		if err != nil {
			return received, fmt.Errorf("confirm: %w", err)
		}
		received++
	}
}

func (s *sub) printMessage(m *goamqp.Message, out, notes io.Writer) error {
	view := subMessage{Body: string(m.GetData()), Properties: m.ApplicationProperties}
	if m.Value != nil {
		view.Body = fmt.Sprint(m.Value)
	}
	if m.Properties != nil {
		view.MessageID = m.Properties.MessageID
		if m.Properties.Subject != nil {
			view.Subject = *m.Properties.Subject
		}
	}
	if m.Header != nil {
		view.DeliveryCount, view.Redelivered = m.Header.DeliveryCount, !m.Header.FirstAcquirer
	}
	if gap, ok := client.GapOf(m); ok {
		view.Gap = &gap
	}
	if s.output == "json" {
		return printJSONLine(out, view)
	}
	if view.Gap != nil {
		printGap(notes, view.Gap)
	}
	_, err := fmt.Fprintln(out, view.Body)
	return err
}

// printGap says what was lost before a message. What nodes that were cut off let past the subscription is an upper bound, and may
// not be known yet.
func printGap(w io.Writer, g *client.Gap) {
	isolated := g.Causes[client.CauseIsolated]
	if known := g.Messages - min(g.Messages, isolated); known > 0 {
		limits := client.Gap{Causes: maps.Clone(g.Causes)}
		delete(limits.Causes, client.CauseIsolated)
		fmt.Fprintf(w, "-- %s messages before this one were given up: %s\n", thousands(known), limits.Reasons())
	}
	if isolated > 0 {
		fmt.Fprintf(w, "-- at most %s messages have passed the subscription by, at nodes that were cut off when it was made\n", thousands(isolated))
	}
	if g.IsolatedUnknown > 0 {
		fmt.Fprintf(w, "-- how many messages have passed it by at %s, cut off as well, is not known yet\n", nodes(g.IsolatedUnknown))
	}
}
