package rafttest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipeSize is what a pipe takes before its writer waits, like a socket's buffers.
const pipeSize = 256 << 10

var errReset = errors.New("connection reset")

// conn is one end of a connection.
type conn struct {
	net           *Network
	local, remote string
	in, out       *pipe
	once          sync.Once
}

func (c *conn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

func (c *conn) Close() error {
	c.once.Do(func() {
		c.out.closeWrite()
		c.in.closeRead()
		c.net.forget(c)
	})
	return nil
}

func (c *conn) reset() {
	c.in.fail(errReset)
	c.out.fail(errReset)
}

func (c *conn) LocalAddr() net.Addr  { return addr(c.local) }
func (c *conn) RemoteAddr() net.Addr { return addr(c.remote) }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.readBy.set(t)
	c.out.writeBy.set(t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.readBy.set(t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.writeBy.set(t)
	return nil
}

// pipe is one direction of a connection.
type pipe struct {
	mu      sync.Mutex
	changed *sync.Cond
	parts   []part
	size    int
	cut     bool
	delay   time.Duration
	ended   bool // the writer has closed: EOF behind the parts
	gone    bool // the reader has closed
	err     error
	readBy  deadline
	writeBy deadline
}

type part struct {
	bytes []byte
	due   time.Time
}

// newPipe joins its link; the network's lock is held.
func newPipe(n *Network, from, to string) *pipe {
	l := n.linkLocked(from, to)
	p := &pipe{cut: n.cutLocked(l), delay: l.delay}
	p.changed = sync.NewCond(&p.mu)
	p.readBy.pipe, p.writeBy.pipe = p, p
	l.pipes[p] = struct{}{}
	return p
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.gone:
			return 0, net.ErrClosed
		case p.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case p.err != nil:
			return 0, p.err
		case p.cut:
		case len(p.parts) > 0:
			if wait := time.Until(p.parts[0].due); wait > 0 {
				time.AfterFunc(wait, p.wake)
				break
			}
			n := copy(b, p.parts[0].bytes)
			p.parts[0].bytes = p.parts[0].bytes[n:]
			if len(p.parts[0].bytes) == 0 {
				p.parts = p.parts[1:]
			}
			p.size -= n
			p.changed.Broadcast()
			return n, nil
		case p.ended:
			return 0, io.EOF
		}
		p.changed.Wait()
	}
}

func (p *pipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := 0
	for {
		switch {
		case p.ended:
			return done, net.ErrClosed
		case p.writeBy.passed():
			return done, os.ErrDeadlineExceeded
		case p.err != nil:
			return done, p.err
		case p.gone && !p.cut:
			return done, errReset
		case done == len(b):
			return done, nil
		case p.size < pipeSize:
			n := min(len(b)-done, pipeSize-p.size)
			p.parts = append(p.parts, part{append([]byte(nil), b[done:done+n]...), p.due()})
			p.size += n
			done += n
			p.changed.Broadcast()
			continue
		}
		p.changed.Wait()
	}
}

// due is when something sent now arrives: never before what was sent before.
func (p *pipe) due() time.Time {
	t := time.Now().Add(p.delay)
	if n := len(p.parts); n > 0 && p.parts[n-1].due.After(t) {
		return p.parts[n-1].due
	}
	return t
}

func (p *pipe) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed.Broadcast()
}

func (p *pipe) setLink(cut bool, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.delay = cut, delay
	p.changed.Broadcast()
}

func (p *pipe) closeWrite() { p.mark(func() { p.ended = true }) }
func (p *pipe) closeRead()  { p.mark(func() { p.gone = true }) }
func (p *pipe) fail(err error) {
	p.mark(func() {
		if p.err == nil {
			p.err = err
		}
	})
}

func (p *pipe) mark(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.changed.Broadcast()
}

// deadline of one side of a pipe, guarded by the pipe's lock.
type deadline struct {
	pipe  *pipe
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(t time.Time) {
	d.pipe.mu.Lock()
	defer d.pipe.mu.Unlock()
	d.at = t
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), d.pipe.wake)
	}
	d.pipe.changed.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }
