// Package cli is the command line: what a person or a script types, and what it prints. It talks to nodes as any
// client does, by AMQP and by the admin API; only `serve` and `demo`, which start nodes, are given to it from outside.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// Exit codes, besides 0.
const (
	ExitFailed = 1 // the command could not do what it was asked
	ExitUsage  = 2 // the command line is wrong
	ExitUnsent = 3 // pub: some messages were not accepted
	ExitFatal  = 4 // serve: the node must not go on, or start: its disk has failed, or what is on it is damaged
)

// exitError carries an exit code and says whether the message was printed already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// Exit is an error that ends the program with a code.
func Exit(code int, err error) error { return &exitError{code, err} }

func usage(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Errorf(format, args...)}
}

// common is what all commands that talk to a node share.
type common struct {
	url     string
	api     string
	output  string
	timeout time.Duration
}

// New returns the whole command. serve and demo are the commands that start nodes.
func New(serve, demo *cobra.Command) *cobra.Command {
	c := &common{}
	root := &cobra.Command{
		Use:   "posthouse",
		Short: "A network of AMQP 1.0 routers with a memory",
		Long: `Posthouse routes AMQP 1.0 messages straight from publishers to subscribers, and keeps them, on a majority of a
three-node cluster's disks, for the subscribers that must not miss any.`,
		Example: `  posthouse demo                               three nodes, a killed leader, nothing lost
  posthouse serve                              one node, useful at once
  posthouse sub orders --durable billing       subscribe, and be able to come back
  posthouse pub orders 'order 4711'            publish`,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          onlyHelp,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.url, "url", environment("POSTHOUSE_URL", "amqp://127.0.0.1:5672"), "node to speak AMQP with, amqp://[USER:PASSWORD@]HOST:PORT [$POSTHOUSE_URL]")
	flags.StringVar(&c.api, "api", environment("POSTHOUSE_API", "http://127.0.0.1:8672"), "node whose admin API is asked [$POSTHOUSE_API]")
	flags.StringVarP(&c.output, "output", "o", "text", "text or json")
	flags.DurationVar(&c.timeout, "timeout", 30*time.Second, "how long to wait for a node's answer")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if c.output != "text" && c.output != "json" {
			return usage("--output: %q is neither text nor json", c.output)
		}
		return nil
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; `%s --help` lists the flags", err, cmd.CommandPath())
	})
	root.AddCommand(serve, demo, newPub(c), newSub(c), newSubscription(c), newCluster(c), newVersion(c))
	return root
}

// onlyHelp is what a command does that is only the name of a group of commands.
func onlyHelp(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	cmd.SuggestionsMinimumDistance = 2 // edits
	err := usage("unknown command %q for %q; `%s --help` lists them", args[0], cmd.CommandPath(), cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = usage("unknown command %q for %q; did you mean %s?", args[0], cmd.CommandPath(), near[0])
	}
	return err
}

func environment(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// Main runs the command and returns the exit code.
func Main(ctx context.Context, root *cobra.Command, args []string, stderr io.Writer) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := ExitFailed
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
	} else if !errors.Is(err, context.Canceled) && isUsage(err) {
		code = ExitUsage
	}
	if err.Error() != "" {
		fmt.Fprintln(stderr, "posthouse:", err)
	}
	return code
}

// isUsage recognizes what cobra says of a wrong command line, for which it has no type.
func isUsage(err error) bool {
	for _, prefix := range []string{"unknown command", "accepts ", "requires ", "required flag", "invalid argument"} {
		if len(err.Error()) >= len(prefix) && err.Error()[:len(prefix)] == prefix {
			return true
		}
	}
	return false
}
