package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

// talk is a conversation with a connection: the test plays the peer, frame by frame, in a bubble of synctest.
type talk struct {
	t    *testing.T
	nc   net.Conn
	c    *Conn
	h    *recorder
	ran  chan error
	stop context.CancelFunc

	mu     sync.Mutex
	in     []byte
	eof    bool
	max    uint32
	header bool // the protocol header was read
	gate   chan struct{}
}

// frame is one that the connection sent.
type frame struct {
	channel uint16
	body    amqp.Performative // nil: heartbeat
	payload []byte
}

// converse runs a conversation. The connection must end by itself or when the peer's socket is closed.
func converse(t *testing.T, cfg Config, dialled bool, h *recorder, f func(tk *talk)) {
	t.Helper()
	converseWith(t, cfg, dialled, h, h, f)
}

// synctestTalk is converse with a handler that is no recorder.
func synctestTalk(t *testing.T, h Handler, f func(tk *talk)) {
	t.Helper()
	converseWith(t, Config{}, false, h, &recorder{}, f)
}

func converseWith(t *testing.T, cfg Config, dialled bool, handler Handler, h *recorder, f func(tk *talk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		tk := &talk{t: t, nc: theirs, h: h, ran: make(chan error, 1), max: 1 << 20}
		if cfg.ContainerID == "" {
			cfg.ContainerID = "us"
		}
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		if dialled {
			tk.c = Client(ours, cfg, handler)
		} else {
			tk.c = Accept(ours, cfg, handler)
		}
		h.t, h.tk = t, tk
		ctx, cancel := context.WithCancel(context.Background())
		tk.stop = cancel
		go func() { tk.ran <- tk.c.Run(ctx) }()
		go tk.read()
		defer cancel()
		defer func() {
			_ = theirs.Close()
			tk.mu.Lock()
			if tk.gate != nil {
				close(tk.gate)
			}
			tk.mu.Unlock()
			time.Sleep(time.Minute)
			synctest.Wait()
			h.leftovers()
		}()
		f(tk)
	})
}

func (tk *talk) read() {
	b := make([]byte, 64<<10)
	for {
		n, err := tk.nc.Read(b)
		tk.mu.Lock()
		tk.in = append(tk.in, b[:n]...)
		tk.eof = tk.eof || err != nil
		gate := tk.gate
		tk.mu.Unlock()
		if err != nil {
			return
		}
		if gate != nil {
			<-gate
		}
	}
}

// standStill makes the peer stop reading, after one more read, until the returned function is called or the conversation ends.
func (tk *talk) standStill() (goOn func()) {
	tk.mu.Lock()
	defer tk.mu.Unlock()
	gate := make(chan struct{})
	tk.gate = gate
	return sync.OnceFunc(func() {
		tk.mu.Lock()
		defer tk.mu.Unlock()
		tk.gate = nil
		close(gate)
	})
}

// bytes writes raw bytes.
func (tk *talk) bytes(b []byte) {
	tk.t.Helper()
	if _, err := tk.nc.Write(b); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		tk.t.Fatalf("write: %v", err)
	}
}

func frameBytes(channel uint16, p amqp.Performative, payload []byte) []byte {
	b := amqp.BeginFrame(nil, amqp.FrameAMQP, channel)
	b = append(p.Append(b), payload...)
	return amqp.EndFrame(b, 0, 0)
}

// say writes a frame.
func (tk *talk) say(channel uint16, p amqp.Performative, payload ...byte) {
	tk.t.Helper()
	tk.bytes(frameBytes(channel, p, payload))
}

// next returns the next frame that the connection has sent; it must be there when everything has come to rest.
func (tk *talk) next() frame {
	tk.t.Helper()
	f, ok := tk.poll()
	if !ok {
		tk.t.Fatalf("no frame came (eof %v)", tk.eof)
	}
	return f
}

func (tk *talk) poll() (frame, bool) {
	tk.t.Helper()
	synctest.Wait()
	tk.mu.Lock()
	defer tk.mu.Unlock()
	if !tk.header {
		tk.t.Fatal("header not read")
	}
	f, rest, ok, err := amqp.NextFrame(tk.in, tk.max)
	if err != nil {
		tk.t.Fatal(err)
	}
	if !ok {
		return frame{}, false
	}
	out := frame{channel: f.Channel}
	if len(f.Body) > 0 {
		p, payload, err := amqp.DecodePerformative(append([]byte(nil), f.Body...))
		if err != nil {
			tk.t.Fatal(err)
		}
		out.body, out.payload = p, payload
	}
	tk.in = append([]byte(nil), rest...)
	return out, true
}

// want checks that the next frame is exactly this one.
func (tk *talk) want(channel uint16, p amqp.Performative, payload ...byte) {
	tk.t.Helper()
	f := tk.next()
	if f.channel != channel || !reflect.DeepEqual(f.body, roundTrip(tk.t, p)) || string(f.payload) != string(payload) {
		tk.t.Fatalf("got channel %d %s %q\nwant channel %d %s %q", f.channel, show(f.body), f.payload, channel, show(p), payload)
	}
}

// roundTrip is what a performative looks like after it was on the wire: defaults filled in.
func roundTrip(t *testing.T, p amqp.Performative) amqp.Performative {
	t.Helper()
	q, _, err := amqp.DecodePerformative(p.Append(nil))
	if err != nil {
		t.Fatalf("%s: %v", show(p), err)
	}
	return q
}

func show(p amqp.Performative) string { return fmt.Sprintf("%T%+v", p, reflect.ValueOf(p)) }

// wantIdle checks that nothing more comes now.
func (tk *talk) wantIdle() {
	tk.t.Helper()
	if f, ok := tk.poll(); ok {
		tk.t.Fatalf("unexpected frame on channel %d: %s %q", f.channel, show(f.body), f.payload)
	}
}

// wantEOF checks that the socket is closed and nothing is left unread.
func (tk *talk) wantEOF() {
	tk.t.Helper()
	tk.wantIdle()
	tk.mu.Lock()
	defer tk.mu.Unlock()
	if !tk.eof {
		tk.t.Fatal("the connection is still open")
	}
}

// wantRun checks what Run returned.
func (tk *talk) wantRun() error {
	tk.t.Helper()
	synctest.Wait()
	select {
	case err := <-tk.ran:
		return err
	default:
		tk.t.Fatal("Run has not returned")
		return nil
	}
}

// wantHeader reads a protocol header from the connection.
func (tk *talk) wantHeader(h amqp.ProtocolHeader) {
	tk.t.Helper()
	synctest.Wait()
	tk.mu.Lock()
	defer tk.mu.Unlock()
	if len(tk.in) < 8 {
		tk.t.Fatalf("no protocol header but %x", tk.in)
	}
	got, err := amqp.ParseProtocolHeader(tk.in)
	if err != nil || got != h {
		tk.t.Fatalf("got header %v (%v), want %v", got, err, h)
	}
	tk.in = tk.in[8:]
	tk.header = true
}

// skip forgets what has come so far.
func (tk *talk) skip() {
	synctest.Wait()
	tk.mu.Lock()
	defer tk.mu.Unlock()
	tk.header, tk.in = true, nil
}

// next returns the next frame as the type that it must have.
func next[T amqp.Performative](tk *talk) T {
	tk.t.Helper()
	f := tk.next()
	p, ok := f.body.(T)
	if !ok {
		tk.t.Fatalf("got %s, want %T", show(f.body), *new(T))
	}
	return p
}

// hello exchanges protocol headers and opens with an accepting connection.
func (tk *talk) hello(o *amqp.Open) *amqp.Open {
	tk.t.Helper()
	tk.bytes(amqp.HeaderAMQP.Append(nil))
	tk.wantHeader(amqp.HeaderAMQP)
	if o == nil {
		o = &amqp.Open{ContainerID: "them", MaxFrameSize: amqp.DefaultMaxFrameSize, ChannelMax: 65535}
	}
	tk.say(0, o)
	return next[*amqp.Open](tk)
}

// helloSession goes on with a session on channel 0 of both.
func (tk *talk) helloSession() {
	tk.t.Helper()
	tk.hello(nil)
	tk.begin(0)
}

func (tk *talk) begin(channel uint16) *amqp.Begin {
	tk.t.Helper()
	tk.say(channel, &amqp.Begin{IncomingWindow: 1000, OutgoingWindow: 1000, HandleMax: amqp.DefaultHandleMax})
	b := next[*amqp.Begin](tk)
	if b.RemoteChannel != amqp.Some(channel) {
		tk.t.Fatalf("begin answers channel %v", b.RemoteChannel)
	}
	return b
}

// attachAs attaches a link and wants the answer. role is the peer's.
func (tk *talk) attachAs(role amqp.Role, handle uint32, name string) *amqp.Attach {
	tk.t.Helper()
	tk.say(0, attach(role, handle, name))
	a := next[*amqp.Attach](tk)
	if a.Name != name || a.Role == role {
		tk.t.Fatalf("got %s", show(a))
	}
	return a
}

func attach(role amqp.Role, handle uint32, name string) *amqp.Attach {
	a := &amqp.Attach{
		Name: name, Handle: handle, Role: role, SndSettleMode: amqp.SenderMixed,
		Source: &amqp.Source{Address: "a", ExpiryPolicy: amqp.ExpireSessionEnd},
		Target: &amqp.Target{Address: "a", ExpiryPolicy: amqp.ExpireSessionEnd},
	}
	if role == amqp.RoleSender {
		a.InitialDeliveryCount = amqp.Some(uint32(0))
	}
	return a
}

// transfer makes the first frame of an unsettled delivery on handle 0.
func transfer(id uint32) *amqp.Transfer {
	return &amqp.Transfer{DeliveryID: amqp.Some(id), DeliveryTag: []byte{byte(id)}, MessageFormat: amqp.Some(uint32(0))}
}

// recorder is a Handler that writes down what it is told, and does what the test says.
type recorder struct {
	t     *testing.T
	tk    *talk
	mu    sync.Mutex
	calls []string

	credit    uint32 // for receivers, when they are accepted
	snd       []*Sender
	rcv       []*Receiver
	sessions  []*Session
	refs      []DeliveryRef
	delivered [][]byte
	outcomes  []Outcome
	held      []*Message
	hold      bool // retain messages

	onOpened    func(c *Conn, o *amqp.Open)
	onBegun     func(s *Session)
	onAttached  func(l Link)
	onDelivered func(r *Receiver, d *Delivery)
	onDetached  func(l Link, d Detached)
	onCredit    func(s *Sender)
	onOutcome   func(s *Sender, o *Outcome)
}

func (h *recorder) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, fmt.Sprintf(format, args...))
}

// wantCalls checks what the handler was told since the last time.
func (h *recorder) wantCalls(want ...string) {
	h.t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !reflect.DeepEqual(h.calls, want) && len(h.calls)+len(want) > 0 {
		h.t.Fatalf("handler was told\n%q\nwant\n%q", h.calls, want)
	}
	h.calls = nil
}

func (h *recorder) forget() {
	synctest.Wait()
	h.mu.Lock()
	h.calls = nil
	h.mu.Unlock()
}

// leftovers checks that every link was detached, every session ended.
func (h *recorder) leftovers() {
	for _, m := range h.held {
		m.Release()
	}
}

func (h *recorder) Opened(c *Conn, o *amqp.Open) {
	h.note("opened %s", o.ContainerID)
	if h.onOpened != nil {
		h.onOpened(c, o)
	}
}

func (h *recorder) Begun(s *Session) {
	h.note("begun")
	h.sessions = append(h.sessions, s)
	if h.onBegun != nil {
		h.onBegun(s)
	}
}

func (h *recorder) Attached(l Link) {
	h.note("attached %s", l.Name())
	switch l := l.(type) {
	case *Sender:
		h.snd = append(h.snd, l)
	case *Receiver:
		h.rcv = append(h.rcv, l)
	}
	if h.onAttached != nil {
		h.onAttached(l)
		return
	}
	if !l.Pending() {
		return
	}
	switch l := l.(type) {
	case *Sender:
		l.Accept(l.Answer())
	case *Receiver:
		l.Accept(l.Answer(), h.credit)
	}
}

func (h *recorder) Delivered(r *Receiver, d *Delivery) {
	if d.Settled {
		h.note("delivered %q settled", d.Message.Bytes())
	} else {
		h.note("delivered %q", d.Message.Bytes())
	}
	h.refs = append(h.refs, d.Ref)
	h.delivered = append(h.delivered, append([]byte(nil), d.Message.Bytes()...))
	if h.hold {
		h.held = append(h.held, d.Message.Retain())
	}
	if h.onDelivered != nil {
		h.onDelivered(r, d)
	}
}

func (h *recorder) SenderState(r *Receiver, ref DeliveryRef, state amqp.DeliveryState, settled bool) {
	h.note("sender state %T settled %v", state, settled)
}

func (h *recorder) Outcome(s *Sender, o *Outcome) {
	h.note("outcome %v %T final %v lost %v sent %v", o.Cookie, o.State, o.Final, o.Lost, o.Sent)
	h.outcomes = append(h.outcomes, *o)
	if h.onOutcome != nil {
		h.onOutcome(s, o)
	}
}

func (h *recorder) Credit(s *Sender) {
	h.note("credit %d drain %v", s.Credit(), s.Draining())
	if h.onCredit != nil {
		h.onCredit(s)
	}
}

func (h *recorder) Flowed(r *Receiver, properties map[amqp.Symbol]any) {
	h.note("flowed %d %v", r.Available(), properties)
}

func (h *recorder) Drained(r *Receiver) { h.note("drained") }

func (h *recorder) Detached(l Link, d Detached) {
	h.note("detached %s closed %v err %v answer %v lost %v", l.Name(), d.Closed, condition(d.Err), d.Answer, d.Lost)
	if h.onDetached != nil {
		h.onDetached(l, d)
	}
}

func (h *recorder) Ended(s *Session, err *amqp.Error) { h.note("ended %v", condition(err)) }

func (h *recorder) Closed(c *Conn, err error) {
	var e *amqp.Error
	errors.As(err, &e)
	h.note("closed %v", condition(e))
}

func condition(err *amqp.Error) string {
	if err == nil {
		return "-"
	}
	return string(err.Condition)
}
