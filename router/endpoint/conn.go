package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

// Conn is one connection. Make it with [Accept] or [Client], then call [Conn.Run].
type Conn struct {
	nc      net.Conn
	cfg     Config
	h       Handler
	dialled bool

	// Owned by the reader.
	rd       reader
	batch    Batch
	identity string // set before the first callback, then immutable
	sasl     string // mechanism; likewise
	data     any

	stop       chan struct{} // closed when nothing shall wait any more: a close is owed, or the socket is gone
	poked      chan struct{}
	wake       chan struct{}
	writerDone chan struct{}

	mu sync.Mutex
	// All below is guarded by mu.

	events     []event
	open       *amqp.Open // ours
	remote     *amqp.Open // the peer's, nil until it came
	openHeld   bool       // an accepting side's open waits for Handler.Opened
	openSent   bool
	closeOwed  bool
	closeSent  bool
	closeRcvd  bool
	discarding bool        // all frames but close are dropped: we have closed, or are about to
	closeErr   *amqp.Error // goes out with the close
	localErr   *amqp.Error // a mistake of the peer's, or what Close was called with
	peerErr    *amqp.Error
	dead       bool // the socket is gone, nothing will be written any more
	ioErr      error
	stopped    bool
	closeBy    time.Time // set with closeOwed

	frameMax    uint32 // of frames that we send
	channelMax  uint16 // of channels that we use
	beatEvery   time.Duration
	in          []*Session // by the peer's channel
	out         []*Session // by ours
	links       int
	attachBytes int64

	dirty    fifo[*Session]
	ready    fifo[*Sender]
	parked   bool // the writer sleeps
	deferred bool // a Batch will wake it

	freeIn  []*inDelivery
	freeOut []*outDelivery

	queued      int
	queuedBytes int64
	stats       Stats
}

// Stats are counters of a connection.
type Stats struct {
	FramesIn, FramesOut       uint64
	BytesIn, BytesOut         uint64
	DeliveriesIn              uint64 // complete ones
	DeliveriesOut             uint64 // likewise
	Refused                   uint64 // deliveries that came when there was no memory; see Budget
	Reads, Writes             uint64 // calls to the socket
	Sessions, Links           int    // alive
	UnsettledIn, UnsettledOut int
	Queued                    int   // deliveries that wait to be written
	QueuedBytes               int64 // and the part of their payload that does
}

// Accept makes the accepting end of a connection. The Config must be valid. Nothing is read or written before Run.
func Accept(nc net.Conn, cfg Config, h Handler) *Conn { return newConn(nc, cfg, h, false) }

// Client makes the dialling end of a connection.
func Client(nc net.Conn, cfg Config, h Handler) *Conn { return newConn(nc, cfg, h, true) }

func newConn(nc net.Conn, cfg Config, h Handler, dialled bool) *Conn {
	cfg = cfg.withDefaults()
	c := &Conn{
		nc: nc, cfg: cfg, h: h, dialled: dialled,
		stop:       make(chan struct{}),
		poked:      make(chan struct{}, 1),
		wake:       make(chan struct{}, 1),
		writerDone: make(chan struct{}),
		openHeld:   !dialled,
		frameMax:   amqp.MinMaxFrameSize, // 2.4.1: until the peer said otherwise
		open: &amqp.Open{
			ContainerID:         cfg.ContainerID,
			Hostname:            cfg.Hostname,
			MaxFrameSize:        cfg.MaxFrameSize,
			ChannelMax:          cfg.ChannelMax,
			OfferedCapabilities: cfg.Offered,
			DesiredCapabilities: cfg.Desired,
			Properties:          cfg.Properties,
		},
		channelMax: cfg.ChannelMax,
	}
	if cfg.IdleTimeout > 0 {
		// 2.4.5: half the actual threshold.
		c.open.IdleTimeOut = uint32(min(cfg.IdleTimeout/(2*time.Millisecond), 1<<32-1))
	}
	c.rd.c = c
	return c
}

// Run drives the connection from the first byte to the end of the socket, which it closes, and calls the Handler. It blocks; it is to
// be called once. When ctx is done the connection is closed with amqp:connection:forced.
//
// It returns nil after an orderly close without error by either side; else a [*PeerError], a [*LocalError], or an error that
// wraps [ErrHandshake], [ErrAuthentication] or [ErrDropped].
func (c *Conn) Run(ctx context.Context) error {
	defer c.nc.Close()
	c.rd.begin()
	defer c.rd.end()
	handshakeBy := time.Now().Add(c.cfg.HandshakeTimeout)
	_ = c.nc.SetDeadline(handshakeBy)
	abort := context.AfterFunc(ctx, func() { _ = c.nc.SetDeadline(time.Unix(1, 0)) })
	err := c.negotiate()
	if !abort() && err == nil {
		err = fmt.Errorf("%w: %w", ErrHandshake, context.Cause(ctx))
	}
	if err != nil {
		if !errors.Is(err, io.EOF) && ctx.Err() == nil {
			c.linger()
		}
		c.h.Closed(c, err)
		return err
	}
	_ = c.nc.SetWriteDeadline(time.Time{})
	c.rd.handshakeBy = handshakeBy
	unwatch := context.AfterFunc(ctx, func() {
		c.Close(amqp.Errorf(amqp.ErrCondConnectionForced, "shutting down"))
	})
	defer unwatch()

	go c.write()
	c.read()
	<-c.writerDone

	err = c.finish()
	c.h.Closed(c, err)
	return err
}

// finish tells what is left to be told, and what Run returns.
func (c *Conn) finish() error {
	c.mu.Lock()
	c.dead = true
	c.stopLocked()
	c.loseSessionsLocked(nil)
	c.in, c.out, c.links, c.attachBytes = nil, nil, 0, 0
	c.takeEventsLocked()
	err := c.reasonLocked()
	c.mu.Unlock()
	c.handleEvents()
	c.batch.Flush()
	return err
}

func (c *Conn) reasonLocked() error {
	switch {
	case c.localErr != nil:
		return &LocalError{c.localErr}
	case c.peerErr != nil:
		return &PeerError{c.peerErr}
	case c.closeRcvd || c.closeSent:
		return nil
	case c.remote == nil:
		return fmt.Errorf("%w: %w", ErrHandshake, c.ioErr)
	}
	return fmt.Errorf("%w: %w", ErrDropped, c.ioErr)
}

// Close closes the connection in an orderly way, for the given reason (nil: none). Settlements made before are sent; deliveries that are
// not written yet are lost. It does not block: Run returns when the peer has answered, or after Config.CloseTimeout. Later
// calls do nothing.
func (c *Conn) Close(err *amqp.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked(err)
}

// closeLocked begins a close of ours.
func (c *Conn) closeLocked(err *amqp.Error) {
	if c.closeOwed || c.closeSent || c.dead {
		return
	}
	c.closeOwed, c.closeErr, c.localErr = true, err, err
	c.discarding = true
	c.openHeld = false // the close needs an open in front of it
	c.closeBy = time.Now().Add(c.cfg.CloseTimeout)
	_ = c.nc.SetDeadline(c.closeBy)
	c.stopLocked()
	c.owedLocked(nil)
}

// Abort drops the socket without a word. Run returns soon after.
func (c *Conn) Abort() {
	c.mu.Lock()
	c.dieLocked(net.ErrClosed)
	c.mu.Unlock()
	_ = c.nc.Close()
}

// dieLocked notes that the socket is gone.
func (c *Conn) dieLocked(err error) {
	if c.dead {
		return
	}
	c.dead = true
	if c.ioErr == nil {
		c.ioErr = err
	}
	c.stopLocked()
	c.wakeLocked()
}

func (c *Conn) stopLocked() {
	if !c.stopped {
		c.stopped = true
		close(c.stop)
	}
}

// Offer adds capabilities and properties to the open of an accepting side. To be called in Handler.Opened; later it does
// nothing.
func (c *Conn) Offer(capabilities []amqp.Symbol, properties map[amqp.Symbol]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.openSent {
		return
	}
	c.open.OfferedCapabilities = append(c.open.OfferedCapabilities[:len(c.open.OfferedCapabilities):len(c.open.OfferedCapabilities)], capabilities...)
	all := maps.Clone(c.open.Properties)
	if all == nil {
		all = make(map[amqp.Symbol]any)
	}
	maps.Copy(all, properties)
	c.open.Properties = all
}

// Begin begins a session. It may be used at once: frames go out when they may. The error is ErrGone or ErrLimit.
func (c *Conn) Begin() (*Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.discarding || c.closeRcvd || c.dead {
		return nil, ErrGone
	}
	s := c.newSessionLocked()
	if s == nil {
		return nil, ErrLimit
	}
	s.initiated = true
	s.beginOwed = true
	s.dirtyLocked()
	c.owedLocked(nil)
	return s, nil
}

// Remote is the peer's open; nil before it came. It must not be changed.
func (c *Conn) Remote() *amqp.Open {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote
}

// Identity is what Authentication.Check gave the user. To be called from Handler methods or after one.
func (c *Conn) Identity() string { return c.identity }

// Mechanism is the SASL mechanism that was used, "" without SASL. To be called from Handler methods or after one.
func (c *Conn) Mechanism() string { return c.sasl }

// Dialled tells whether this is the dialling end.
func (c *Conn) Dialled() bool { return c.dialled }

// NetConn is the socket, for its addresses and TLS state. It must not be read, written or closed.
func (c *Conn) NetConn() net.Conn { return c.nc }

// Budget is the Budget of the Config.
func (c *Conn) Budget() *Budget { return c.cfg.Budget }

// Data is what SetData left here. The engine does not touch it, nor does it lock: set it before Run or in Handler.Opened.
func (c *Conn) Data() any { return c.data }

// SetData leaves something for Data.
func (c *Conn) SetData(v any) { c.data = v }

// Queued is the number of deliveries that wait to be written to the peer, and the bytes of their payload.
func (c *Conn) Queued() (deliveries int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queued, c.queuedBytes
}

// Stats returns the counters of the moment.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.stats
	st.Queued, st.QueuedBytes, st.Links = c.queued, c.queuedBytes, c.links
	for _, s := range c.out {
		if s != nil {
			st.Sessions++
			st.UnsettledIn += s.inUnsettled.len()
			st.UnsettledOut += s.outUnsettled.len()
		}
	}
	return st
}
