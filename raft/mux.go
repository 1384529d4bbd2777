package raft

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// maxGreeting bounds the connections whose preamble has not come yet: strangers cost nobody else anything.
const maxGreeting = 256

// mux shares one listener among all groups and kinds of streams. What a connection is for is read in its own
// goroutine, never in Accept: a silent dialler delays nobody (and a TLS handshake runs there, too).
type mux struct {
	ln       net.Listener
	deadline time.Duration
	logger   *slog.Logger
	// route decides on a preamble: take runs on the connection's goroutine and owns it from then on; nil take
	// refuses with the answer.
	route func(p preamble) (take func(net.Conn), a answer)

	mu       sync.Mutex
	greeting map[net.Conn]struct{}
	closed   bool
	wg       sync.WaitGroup
}

func newMux(ln net.Listener, deadline time.Duration, logger *slog.Logger, route func(preamble) (func(net.Conn), answer)) *mux {
	m := &mux{ln: ln, deadline: deadline, logger: logger, route: route, greeting: map[net.Conn]struct{}{}}
	m.wg.Add(1)
	go m.accept()
	return m
}

func (m *mux) accept() {
	defer m.wg.Done()
	pause := 5 * time.Millisecond
	for {
		c, err := m.ln.Accept()
		if err != nil {
			if m.isClosed() || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, most likely: they come back.
			m.logger.Warn("accept failed", "error", err)
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		if !m.admit(c) {
			_ = c.Close()
		}
	}
}

func (m *mux) admit(c net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || len(m.greeting) >= maxGreeting {
		return false
	}
	m.greeting[c] = struct{}{}
	m.wg.Add(1)
	go m.greet(c)
	return true
}

func (m *mux) greet(c net.Conn) {
	defer m.wg.Done()
	take, err := m.welcome(c)
	m.mu.Lock()
	delete(m.greeting, c)
	if m.closed && take != nil {
		take, err = nil, net.ErrClosed
	}
	m.mu.Unlock()
	if take == nil {
		if err != nil {
			m.logger.Debug("connection refused", "remote", c.RemoteAddr().String(), "error", err)
		}
		_ = c.Close()
		return
	}
	take(c)
}

func (m *mux) welcome(c net.Conn) (func(net.Conn), error) {
	if err := c.SetDeadline(time.Now().Add(m.deadline)); err != nil {
		return nil, err
	}
	p, err := readPreamble(c)
	if err != nil {
		return nil, err
	}
	take, a := m.route(p)
	if _, err := c.Write(a.append(nil)); err != nil {
		return nil, err
	}
	if take == nil {
		return nil, &refusal{a}
	}
	return take, c.SetDeadline(time.Time{})
}

func (m *mux) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

// close stops accepting, ends the connections still in their preamble, and waits. Routed ones belong to their
// takers, which must have been stopped before (their takes return).
func (m *mux) close() {
	m.mu.Lock()
	m.closed = true
	for c := range m.greeting {
		_ = c.Close()
	}
	m.mu.Unlock()
	_ = m.ln.Close()
	m.wg.Wait()
}
