package interop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"
)

// gopher is a go-amqp client that takes the commands of peer.py and tells the same events.
type gopher struct {
	container string
	ctx       context.Context
	cancel    context.CancelFunc
	running   sync.WaitGroup
	heard     chan event

	mu        sync.Mutex
	conns     map[string]*goamqp.Conn
	sessions  map[string]*goamqp.Session // of links
	receivers map[string]*goamqp.Receiver
	senders   map[string]*goamqp.Sender
	held      map[string]*goamqp.Message // link, tab, message id
	leaving   map[any]bool               // connections and receivers that are being ended
}

func startGo(t *testing.T, container string) *peer {
	t.Helper()
	g := &gopher{container: container, heard: make(chan event, 1<<12),
		conns: map[string]*goamqp.Conn{}, sessions: map[string]*goamqp.Session{}, receivers: map[string]*goamqp.Receiver{},
		senders: map[string]*goamqp.Sender{}, held: map[string]*goamqp.Message{}, leaving: map[any]bool{}}
	g.ctx, g.cancel = context.WithTimeout(t.Context(), 5*patience)
	t.Cleanup(g.quit)
	return &peer{t: t, name: "go-amqp " + container, command: g.command, heard: g.heard, end: func() string { return "" }}
}

func (g *gopher) command(line string) error {
	words := strings.Split(line, "\t")
	args := map[string]string{}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		args[k] = v
	}
	switch words[0] {
	case "connect":
		return g.connect(args)
	case "receiver":
		return g.receiver(args)
	case "sender":
		return g.sender(args)
	case "send":
		return g.send(args)
	case "credit":
		n, _ := strconv.Atoi(args["credit"])
		return g.receivers[args["link"]].IssueCredit(uint32(n))
	case "drain":
		return g.drain(args["link"])
	case "settle":
		return g.settle(args)
	case "detach":
		return g.leave(args["link"], false)
	case "close":
		return g.leave(args["link"], true)
	case "disconnect":
		return g.disconnect(args["conn"])
	case "kinds":
		g.heard <- event{Event: "kinds", Kinds: slices.Sorted(maps.Keys(goKinds))}
		return nil
	case "quit":
		g.quit()
		return nil
	}
	return errors.New("no such operation")
}

func (g *gopher) connect(args map[string]string) error {
	o := &goamqp.ConnOptions{ContainerID: g.container}
	switch args["sasl"] {
	case "anonymous":
		o.SASLType = goamqp.SASLTypeAnonymous()
	case "plain":
		o.SASLType = goamqp.SASLTypePlain(args["user"], args["password"])
	}
	if seconds, err := strconv.Atoi(args["heartbeat"]); err == nil {
		o.IdleTimeout = time.Duration(seconds) * time.Second
	}
	conn, err := goamqp.Dial(g.ctx, args["url"], o)
	if err != nil {
		g.heard <- event{Event: "error", Conn: args["conn"], What: "transport error", Condition: conditionOf(err), Text: fmt.Sprint(err)}
		return nil
	}
	g.mu.Lock()
	g.conns[args["conn"]] = conn
	g.mu.Unlock()
	g.running.Go(func() {
		<-conn.Done()
		g.ended(conn, event{Event: "error", Conn: args["conn"], What: "the connection is lost"}, conn.Err())
	})
	g.heard <- event{Event: "connected", Conn: args["conn"]}
	return nil
}

// session begins a session for one link: leaving a subscription is ending its session, since closing the link would
// delete it.
func (g *gopher) session(args map[string]string) (*goamqp.Session, error) {
	s, err := g.conns[args["conn"]].NewSession(g.ctx, nil)
	g.mu.Lock()
	g.sessions[args["link"]] = s
	g.mu.Unlock()
	return s, err
}

// leave ends a link by ending its session, or closes it first.
func (g *gopher) leave(link string, closed bool) error {
	g.mu.Lock()
	r, s, session := g.receivers[link], g.senders[link], g.sessions[link]
	g.leaving[r] = true
	g.mu.Unlock()
	var err error
	kind := "detached"
	if closed {
		kind = "closed"
		if s != nil {
			err = s.Close(g.ctx)
		} else {
			err = r.Close(g.ctx)
		}
	}
	if err = errors.Join(err, session.Close(g.ctx)); err != nil {
		return err
	}
	g.heard <- event{Event: kind, Link: link}
	return nil
}

func (g *gopher) disconnect(name string) error {
	g.mu.Lock()
	conn := g.conns[name]
	g.leaving[conn] = true
	for link, r := range g.receivers {
		if g.sessions[link] != nil {
			g.leaving[r] = true
		}
	}
	g.mu.Unlock()
	if err := conn.Close(); err != nil {
		return err
	}
	g.heard <- event{Event: "disconnected", Conn: name}
	return nil
}

// quit drops what is left, as the end of a process would, and ends the events.
func (g *gopher) quit() {
	g.mu.Lock()
	if g.conns == nil {
		g.mu.Unlock()
		return
	}
	conns := g.conns
	g.conns = nil
	for _, c := range conns {
		g.leaving[c] = true
	}
	for _, r := range g.receivers {
		g.leaving[r] = true
	}
	g.mu.Unlock()
	g.cancel()
	for _, c := range conns {
		c.Close()
	}
	g.running.Wait()
	close(g.heard)
}

// ended tells of an end, unless it was asked for.
func (g *gopher) ended(what any, e event, err error) {
	g.mu.Lock()
	asked := g.leaving[what]
	g.mu.Unlock()
	if asked {
		return
	}
	e.Condition, e.Text = conditionOf(err), fmt.Sprint(err)
	g.heard <- e
}

func (g *gopher) failed(link, what string, err error) {
	g.heard <- event{Event: "error", Link: link, What: what, Condition: conditionOf(err), Text: fmt.Sprint(err)}
}

func conditionOf(err error) string {
	var e *goamqp.Error
	var l *goamqp.LinkError
	var s *goamqp.SessionError
	var c *goamqp.ConnError
	switch {
	case errors.As(err, &l) && l.RemoteErr != nil:
		e = l.RemoteErr
	case errors.As(err, &s) && s.RemoteErr != nil:
		e = s.RemoteErr
	case errors.As(err, &c) && c.RemoteErr != nil:
		e = c.RemoteErr
	case !errors.As(err, &e):
		return ""
	}
	return string(e.Condition)
}
