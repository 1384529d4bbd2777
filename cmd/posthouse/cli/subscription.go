package cli

import (
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/config"
	"github.com/posthouse/posthouse/waypoint/peer"
)

func newSubscription(c *common) *cobra.Command {
	s := &cobra.Command{
		Use:     "subscription",
		Aliases: []string{"subscriptions", "subs"},
		Short:   "List, show, create, change and remove durable subscriptions",
		Example: "  posthouse subscription ls",
		RunE:    onlyHelp,
	}
	owner := ""
	s.PersistentFlags().StringVar(&owner, "owner", "", "user who owns it; needed where two users have one of the same name")
	s.AddCommand(newSubscriptionList(c), newSubscriptionShow(c, &owner), newSubscriptionCreate(c, &owner), newSubscriptionSet(c, &owner), newSubscriptionRemove(c, &owner))
	return s
}

func newSubscriptionList(c *common) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List durable subscriptions with backlog, limits and losses",
		Example: "  posthouse subscription ls\n  posthouse subscription ls --output json | jq '.[] | select(.unheard > 0)'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []api.Subscription
			if err := c.call(cmd.Context(), http.MethodGet, api.PathSubscriptions, nil, &all); err != nil {
				return err
			}
			if c.output == "json" {
				return printJSON(cmd.OutOrStdout(), all)
			}
			t := newTable(cmd.OutOrStdout(), "NAME", "OWNER", "ADDRESS", "STATE", "BACKLOG", "LIMIT", "SIZE", "LIMIT", "OLDEST", "GIVEN UP", "LINK AT")
			for _, s := range all {
				t.row(s.Name, s.Owner, s.Address, s.State, thousands(s.Messages), limit(s.Limits.MaxMessages), config.FormatSize(int64(s.Bytes)), sizeLimit(s.Limits.MaxBytes), s.OldestAge, lost(&s), s.Attached)
			}
			return t.flush()
		},
	}
}

func newSubscriptionShow(c *common, owner *string) *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show one durable subscription in full",
		Example: "  posthouse subscription show billing",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var s api.Subscription
			if err := c.call(cmd.Context(), http.MethodGet, subscriptionPath(args[0], *owner), nil, &s); err != nil {
				return err
			}
			return c.printSubscription(cmd.OutOrStdout(), &s)
		},
	}
}

func newSubscriptionCreate(c *common, owner *string) *cobra.Command {
	var limits api.Limits
	cmd := &cobra.Command{
		Use:   "create NAME ADDRESS",
		Short: "Create a durable subscription before its subscriber comes",
		Long: `Create a durable subscription. When the command returns, every publish that begins later is kept for it.
A client continues it with the link property posthouse:subscription=NAME (posthouse sub ADDRESS --durable NAME).`,
		Example: "  posthouse subscription create billing orders --max-messages 50000 --max-age 3d",
		Args:    cobra.ExactArgs(2),
	}
	readLimits := limitFlags(cmd.Flags(), &limits)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := readLimits(); err != nil {
			return err
		}
		var s api.Subscription
		request := api.SubscriptionRequest{Name: args[0], Address: args[1], Owner: *owner, Limits: limits}
		if err := c.call(cmd.Context(), http.MethodPost, api.PathSubscriptions, request, &s); err != nil {
			return err
		}
		return c.printSubscription(cmd.OutOrStdout(), &s)
	}
	return cmd
}

func newSubscriptionSet(c *common, owner *string) *cobra.Command {
	var limits api.Limits
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Change the limits of a durable subscription, at once",
		Long: `Change limits; those not named stay as they are. It needs no reconnect. A limit below the present backlog acts at
once: with drop-oldest the oldest messages are given up, and the subscriber is told how many.`,
		Example: "  posthouse subscription set billing --max-messages 200000\n  posthouse subscription set billing --max-age 12h --overflow reject",
		Args:    cobra.ExactArgs(1),
	}
	readLimits := limitFlags(cmd.Flags(), &limits)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := readLimits(); err != nil {
			return err
		}
		if limits == (api.Limits{}) {
			return usage("nothing to change: name at least one of --max-messages, --max-bytes, --max-age, --max-in-flight, --overflow")
		}
		var s api.Subscription
		if err := c.call(cmd.Context(), http.MethodPatch, subscriptionPath(args[0], *owner), api.SubscriptionRequest{Limits: limits}, &s); err != nil {
			return err
		}
		return c.printSubscription(cmd.OutOrStdout(), &s)
	}
	return cmd
}

func newSubscriptionRemove(c *common, owner *string) *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME",
		Aliases: []string{"remove", "delete"},
		Short:   "Remove a durable subscription and what is kept for it",
		Example: "  posthouse subscription rm billing",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var s api.Subscription
			if err := c.call(cmd.Context(), http.MethodDelete, subscriptionPath(args[0], *owner), nil, &s); err != nil {
				return err
			}
			if c.output == "json" {
				return printJSON(cmd.OutOrStdout(), s)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "removed %s on %s; its backlog was %s messages\n", s.Name, s.Address, thousands(s.Messages))
			return err
		},
	}
}

// limitFlags declares the limits as flags, and returns what reads them into l.
func limitFlags(flags *pflag.FlagSet, l *api.Limits) func() error {
	flags.Int64Var(&l.MaxMessages, "max-messages", 0, "messages in the backlog")
	size := flags.String("max-bytes", "", "size of the backlog, e.g. 512MiB")
	flags.StringVar(&l.MaxAge, "max-age", "", "age of the oldest message, e.g. 36h or 7d")
	flags.Int64Var(&l.MaxInFlight, "max-in-flight", 0, "messages delivered and not yet confirmed")
	flags.StringVar(&l.Overflow, "overflow", "", "at a limit: drop-oldest, or reject where the operator's policy allows it")
	return func() error {
		for name, n := range map[string]int64{"max-messages": l.MaxMessages, "max-in-flight": l.MaxInFlight} {
			if n < 0 || flags.Changed(name) && n == 0 {
				return usage("--%s: %d is no limit; it is 1 or more", name, n)
			}
		}
		if *size != "" {
			n, err := peer.ParseSize(*size)
			if err != nil {
				return usage("--max-bytes: %w", err)
			}
			if n == 0 {
				return usage("--max-bytes: 0 is no limit")
			}
			l.MaxBytes = n
		}
		if l.MaxAge != "" {
			d, err := peer.ParseDuration(l.MaxAge)
			if err != nil {
				return usage("--max-age: %w", err)
			}
			if d < time.Millisecond {
				return usage("--max-age: %s is no limit; it is 1ms or more", l.MaxAge)
			}
		}
		if l.Overflow != "" && l.Overflow != "drop-oldest" && l.Overflow != "reject" {
			return usage("--overflow: %q is neither drop-oldest nor reject", l.Overflow)
		}
		return nil
	}
}

func (c *common) printSubscription(w io.Writer, s *api.Subscription) error {
	if c.output == "json" {
		return printJSON(w, s)
	}
	fmt.Fprintf(w, "%s on %s\n", s.Name, s.Address)
	t := newTable(w, "  owner", s.Owner)
	t.row("  state", s.State)
	t.row("  created", s.Created.Local().Format(time.DateTime))
	t.row("  shard", s.Shard)
	t.row("  link at node", s.Attached)
	if s.Isolated != nil {
		t.row("  passed it by", passedBy(s.Isolated))
	}
	if s.Error != "" {
		t.row("  figures", "not to be had: "+s.Error)
		return t.flush()
	}
	t.row("  backlog", fmt.Sprintf("%s messages, %s", thousands(s.Messages), config.FormatSize(int64(s.Bytes))))
	t.row("  oldest", s.OldestAge)
	t.row("  in flight", thousands(s.InFlight))
	t.row("  captured", fmt.Sprintf("%s = confirmed %s + given up %s + backlog %s", thousands(s.Captured), thousands(s.Confirmed), thousands(s.GivenUp), thousands(s.Messages)))
	t.row("  given up", givenUp(s))
	t.row("  limits", limitsText(s.Limits))
	t.row("  pinned on disk", config.FormatSize(int64(s.Pinned)))
	return t.flush()
}

func givenUp(s *api.Subscription) string {
	if s.GivenUp == 0 {
		return "nothing"
	}
	var parts []string
	for cause, n := range s.Causes {
		parts = append(parts, fmt.Sprintf("%s: %s", cause, thousands(n)))
	}
	sort.Strings(parts)
	return fmt.Sprintf("%s (%s); %s not yet heard of by the subscriber", thousands(s.GivenUp), strings.Join(parts, ", "), thousands(s.Unheard))
}

// lost is what the subscriber has lost, in short: what was given up, and what nodes that were cut off let past it, which is an
// upper bound and open while one of them is away.
func lost(s *api.Subscription) string {
	text := thousands(s.GivenUp)
	switch i := s.Isolated; {
	case i == nil:
	case i.Unknown > 0:
		text += " + unknown"
	case i.AtMost > 0:
		text += " + at most " + thousands(i.AtMost)
	}
	return text
}

func passedBy(i *api.Isolated) string {
	text := fmt.Sprintf("at most %s messages, at nodes that were cut off when it was made; %s not yet heard of by the subscriber", thousands(i.AtMost), thousands(i.Unheard))
	if i.Unknown > 0 {
		text += fmt.Sprintf("; how many at %s more is not known yet", nodes(i.Unknown))
	}
	return text
}

func limitsText(l api.Limits) string {
	return fmt.Sprintf("max-messages %s, max-bytes %s, max-age %s, max-in-flight %s, overflow %s",
		limit(l.MaxMessages), sizeLimit(l.MaxBytes), none(l.MaxAge), limit(l.MaxInFlight), none(l.Overflow))
}

func limit(n int64) string {
	if n == 0 {
		return "none"
	}
	return thousands(n)
}

func sizeLimit(n int64) string {
	if n == 0 {
		return "none"
	}
	return config.FormatSize(n)
}

func none(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
