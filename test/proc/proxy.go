package proc

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy forwards TCP connections of one directed pair: From dials it to reach To. What flows back on those
// connections passes through it too, so that each direction can be broken by itself.
type Proxy struct {
	listener net.Listener
	target   string

	mu     sync.Mutex
	change *sync.Cond
	conns  map[net.Conn]net.Conn // dialled by From -> dialled to To
	to     way                   // what From sends
	back   way                   // what To answers
	refuse bool
	closed bool
	wg     sync.WaitGroup
}

// way is the state of one direction.
type way struct {
	silent bool // bytes are held, connections stay
	delay  time.Duration
}

// NewProxy listens on a port of its own and forwards to target. It is closed with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	p := &Proxy{listener: l, target: target, conns: map[net.Conn]net.Conn{}}
	p.change = sync.NewCond(&p.mu)
	p.wg.Add(1)
	go p.accept()
	t.Cleanup(p.Close)
	return p
}

// Address is what From dials.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Cut breaks all connections and refuses new ones, until Heal.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
	for a, b := range p.conns {
		a.Close()
		b.Close()
	}
}

// Break breaks all connections that there are; new ones may come.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for a, b := range p.conns {
		a.Close()
		b.Close()
	}
}

// Silence holds what From sends (forward) or what it is answered (back), without breaking a connection: the other
// end just hears nothing more. New connections are accepted and as silent.
func (p *Proxy) Silence(forward, back bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to.silent, p.back.silent = forward, back
	p.change.Broadcast()
}

// Delay makes every byte take that much longer, each way.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to.delay, p.back.delay = d, d
}

// Heal undoes Cut, Silence and Delay.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse, p.to, p.back = false, way{}, way{}
	p.change.Broadcast()
}

// Close ends the proxy and waits for its goroutines.
func (p *Proxy) Close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for a, b := range p.conns {
		a.Close()
		b.Close()
	}
	p.change.Broadcast()
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	defer p.wg.Done()
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Add(1)
		go p.forward(in)
	}
}

func (p *Proxy) forward(in net.Conn) {
	defer p.wg.Done()
	defer in.Close()
	p.mu.Lock()
	refuse := p.refuse || p.closed
	p.mu.Unlock()
	if refuse {
		in.(*net.TCPConn).SetLinger(0)
		return
	}
	out, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		return
	}
	defer out.Close()
	p.mu.Lock()
	if p.refuse || p.closed {
		p.mu.Unlock()
		return
	}
	p.conns[in] = out
	p.mu.Unlock()
	done := make(chan struct{}, 2)
	p.wg.Add(2)
	go p.copy(out, in, &p.to, done)
	go p.copy(in, out, &p.back, done)
	<-done
	in.Close()
	out.Close()
	<-done
	p.mu.Lock()
	delete(p.conns, in)
	p.mu.Unlock()
}

// copy moves bytes one way as that way's state allows.
func (p *Proxy) copy(dst, src net.Conn, w *way, done chan<- struct{}) {
	defer p.wg.Done()
	defer func() { done <- struct{}{} }()
	type piece struct {
		bytes []byte
		due   time.Time
	}
	queue := make(chan piece, 1024) // delay must not lower the throughput: pieces wait beside each other
	written := make(chan struct{})
	go func() {
		defer close(written)
		for q := range queue {
			if wait := time.Until(q.due); wait > 0 {
				time.Sleep(wait)
			}
			if !p.mayPass(w) {
				return
			}
			if _, err := dst.Write(q.bytes); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := src.Read(buffer)
		if n > 0 {
			p.mu.Lock()
			due := time.Now().Add(w.delay)
			p.mu.Unlock()
			select {
			case queue <- piece{append([]byte(nil), buffer[:n]...), due}:
			case <-written:
				err = net.ErrClosed
			}
		}
		if err != nil {
			close(queue)
			<-written
			return
		}
	}
}

// mayPass waits while the way is silent. It returns false when the proxy is closed.
func (p *Proxy) mayPass(w *way) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w.silent && !p.closed {
		p.change.Wait()
	}
	return !p.closed
}
