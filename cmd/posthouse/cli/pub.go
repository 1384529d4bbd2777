package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	goamqp "github.com/Azure/go-amqp"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/waypoint/peer"
)

type pub struct {
	*common
	count      int
	size       string
	file       string
	lines      bool
	window     int
	durable    bool
	ttl        time.Duration
	subject    string
	properties []string
}

// pubResult is what pub prints.
type pubResult struct {
	Accepted int64   `json:"accepted"`
	Refused  int64   `json:"refused"`
	Unknown  int64   `json:"unknown"`
	Seconds  float64 `json:"seconds"`
	Error    string  `json:"error,omitempty"` // of the first that was not accepted
}

func newPub(c *common) *cobra.Command {
	p := &pub{common: c}
	cmd := &cobra.Command{
		Use:   "pub ADDRESS [BODY]",
		Short: "Publish messages",
		Long: `Publish one message with BODY, or --count of them, or one for each line of standard input (--lines), or a file.
Each message waits for its outcome: accepted means that every durable subscription to ADDRESS has it on a majority of
disks. Exits with 3 if a message was refused or its outcome is unknown.`,
		Example: `  posthouse pub orders 'order 4711'
  posthouse pub orders --count 100000 --size 1KiB --window 1000
  tail -f app.log | posthouse pub logs --lines
  posthouse pub orders --file order.json --property type=new --subject order`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return p.run(cmd, args) },
	}
	f := cmd.Flags()
	f.IntVarP(&p.count, "count", "n", 1, "how many times to publish the message")
	f.StringVar(&p.size, "size", "", "publish random bytes of this size instead of BODY, e.g. 128B, 1KiB")
	f.StringVarP(&p.file, "file", "f", "", "publish a file's content (- is standard input)")
	f.BoolVar(&p.lines, "lines", false, "publish each line of standard input as a message")
	f.IntVarP(&p.window, "window", "w", 100, "messages on their way without an answer")
	f.BoolVar(&p.durable, "durable", true, "set the header's durable flag")
	f.DurationVar(&p.ttl, "ttl", 0, "time to live")
	f.StringVar(&p.subject, "subject", "", "the message's subject")
	f.StringArrayVarP(&p.properties, "property", "p", nil, "application property KEY=VALUE, any number of times")
	return cmd
}

func (p *pub) run(cmd *cobra.Command, args []string) error {
	next, total, err := p.source(args)
	if err != nil {
		return err
	}
	if p.window < 1 {
		return usage("--window: %d is not 1 or more", p.window)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), p.timeout)
	defer cancel()
	conn, err := goamqp.Dial(ctx, p.url, nil)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", p.url, err)
	}
	defer conn.Close()
	publisher, err := client.NewPublisher(ctx, conn, args[0], "", p.window)
	if err != nil {
		return err
	}
	result, err := p.publish(cmd.Context(), publisher, next, progress(cmd.ErrOrStderr(), total, "publishing"))
	if err != nil {
		return err
	}
	return p.print(cmd.OutOrStdout(), args[0], result)
}

// publish sends what next gives and waits for all answers.
func (p *pub) publish(ctx context.Context, publisher *client.Publisher, next func() (*goamqp.Message, error), bar *progressbar.ProgressBar) (*pubResult, error) {
	var counts [client.Unknown + 1]atomic.Int64
	var firstError atomic.Pointer[string]
	answered := func(o client.Outcome, err error) {
		counts[o].Add(1)
		if err != nil {
			text := err.Error()
			firstError.CompareAndSwap(nil, &text)
		}
		bar.Add(1)
	}
	start := time.Now()
	var sendErr error
	for {
		m, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		sendCtx, cancel := context.WithTimeout(ctx, p.timeout)
		sendErr = publisher.Publish(sendCtx, m, answered)
		cancel()
		if sendErr != nil {
			break
		}
	}
	flushed := make(chan struct{})
	go func() { publisher.Flush(); close(flushed) }()
	select {
	case <-flushed:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	bar.Finish()
	r := &pubResult{Accepted: counts[client.Accepted].Load(), Refused: counts[client.Refused].Load(), Unknown: counts[client.Unknown].Load(), Seconds: time.Since(start).Seconds()}
	if text := firstError.Load(); text != nil {
		r.Error = *text
	}
	if sendErr != nil {
		r.Unknown++
		if r.Error == "" {
			r.Error = sendErr.Error()
		}
	}
	return r, nil
}

func (p *pub) print(w io.Writer, address string, r *pubResult) error {
	if p.output == "json" {
		if err := printJSON(w, r); err != nil {
			return err
		}
	} else {
		rate := ""
		if n := r.Accepted + r.Refused + r.Unknown; n > 1 && r.Seconds > 0 {
			rate = fmt.Sprintf(" in %s (%s/s)", age(time.Duration(r.Seconds*float64(time.Second))), thousands(int64(float64(n)/r.Seconds)))
		}
		fmt.Fprintf(w, "%s: %s accepted, %s refused, %s unknown%s\n", address, thousands(r.Accepted), thousands(r.Refused), thousands(r.Unknown), rate)
	}
	if r.Refused+r.Unknown > 0 {
		return &exitError{ExitUnsent, fmt.Errorf("not all were accepted: %s", r.Error)}
	}
	return nil
}

// source returns what gives the messages (io.EOF after the last) and how many there will be, -1 if unknown.
func (p *pub) source(args []string) (func() (*goamqp.Message, error), int, error) {
	template, err := p.template()
	if err != nil {
		return nil, 0, err
	}
	given := 0
	for _, is := range []bool{len(args) == 2, p.size != "", p.file != "", p.lines} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, 0, usage("say what to publish, in one way: BODY, --size, --file or --lines")
	}
	if p.lines {
		return p.lineSource(template), -1, nil
	}
	body, err := p.body(args)
	if err != nil {
		return nil, 0, err
	}
	if p.count < 1 {
		return nil, 0, usage("--count: %d is not 1 or more", p.count)
	}
	left := p.count
	return func() (*goamqp.Message, error) {
		if left == 0 {
			return nil, io.EOF
		}
		left--
		return template(body), nil
	}, p.count, nil
}

func (p *pub) body(args []string) ([]byte, error) {
	switch {
	case p.size != "":
		n, err := peer.ParseSize(p.size)
		if err != nil {
			return nil, usage("--size: %w", err)
		}
		body := make([]byte, n)
		rand.Read(body)
		return body, nil
	case p.file == "-":
		return io.ReadAll(os.Stdin)
	case p.file != "":
		return os.ReadFile(p.file)
	}
	return []byte(args[1]), nil
}

func (p *pub) lineSource(template func([]byte) *goamqp.Message) func() (*goamqp.Message, error) {
	lines := bufio.NewReader(os.Stdin)
	return func() (*goamqp.Message, error) {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 && err != nil {
			return nil, err
		}
		return template([]byte(strings.TrimRight(string(line), "\r\n"))), nil
	}
}

// template returns what makes a message of a body.
func (p *pub) template() (func([]byte) *goamqp.Message, error) {
	properties := map[string]any{}
	for _, text := range p.properties {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, usage("--property: %q is not KEY=VALUE", text)
		}
		properties[key] = value
	}
	return func(body []byte) *goamqp.Message {
		m := goamqp.NewMessage(body)
		m.Header = &goamqp.MessageHeader{Durable: p.durable, TTL: p.ttl, Priority: 4}
		if p.subject != "" {
			m.Properties = &goamqp.MessageProperties{Subject: &p.subject}
		}
		if len(properties) > 0 {
			m.ApplicationProperties = properties
		}
		return m
	}, nil
}

// progress is a bar on a terminal, and nothing elsewhere or for a few messages.
func progress(w io.Writer, total int, what string) *progressbar.ProgressBar {
	f, isFile := w.(*os.File)
	if total < 1000 && total >= 0 || !isFile || !term.IsTerminal(int(f.Fd())) {
		return progressbar.DefaultSilent(int64(total))
	}
	return progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
}
