package endpoint

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

// reader is the reading half of a connection: it belongs to the goroutine that called Run.
type reader struct {
	c     *Conn
	chunk *chunk
	r, w  int // what was read and not taken in is chunk.b[r:w]

	smallReads  int // in a row
	handshakeBy time.Time
	lastFrame   time.Time // 2.4.5: the idle time-out starts with the last frame
	armed       time.Time // the read deadline in force
	isArmed     bool
	opened      bool // the peer's open is here
	garbage     bool // frames can't be told apart any more: read and forget
	pause       bool // the next frame needs memory that is not there
	refusing    bool // and is not to be waited for

	reads, bytes uint64 // not yet in Conn.stats

	handling []event
	delivery Delivery
	outcome  Outcome

	transfer    amqp.Transfer
	flow        amqp.Flow
	disposition amqp.Disposition
}

// groupFrames is how many frames are taken in under one lock. More would make others wait who want to send on this connection.
const groupFrames = 64

func (rd *reader) begin() { rd.chunk = newChunk(smallChunk) }

func (rd *reader) end() { rd.chunk.release() }

// read takes in what the peer sends until the connection is over. It runs on the goroutine of Run.
func (c *Conn) read() {
	rd := &c.rd
	rd.lastFrame = time.Now()
	for rd.takeIn() {
		if rd.pause {
			rd.pause = false
			if !c.cfg.Budget.wait(c.stop, c.poked) {
				c.mu.Lock()
				rd.refusing = c.queued > 0
				c.mu.Unlock()
			}
			rd.lastFrame = time.Now() // we did not listen
			continue
		}
		if !rd.fill() {
			return
		}
	}
}

// takeIn takes in all whole frames that were read, and calls the handler. It returns false when nothing more is to be read.
func (rd *reader) takeIn() bool {
	c := rd.c
	for {
		c.mu.Lock()
		n := 0
		for n < groupFrames && !rd.garbage && !c.closeRcvd && !c.dead {
			if !rd.nextLocked() {
				break
			}
			n++
		}
		c.stats.FramesIn += uint64(n)
		c.stats.Reads += rd.reads
		c.stats.BytesIn += rd.bytes
		rd.reads, rd.bytes = 0, 0
		c.takeEventsLocked()
		if c.workLocked() {
			c.owedLocked(&c.batch)
		}
		over := c.closeRcvd || c.dead
		c.mu.Unlock()

		if n > 0 {
			rd.lastFrame = time.Now()
		}
		c.handleEvents()
		c.batch.Flush()
		if over {
			return false
		}
		if n < groupFrames {
			return true
		}
	}
}

// nextLocked takes in one frame; false if there is none to take in now.
func (rd *reader) nextLocked() bool {
	c := rd.c
	f, rest, ok, err := amqp.NextFrame(rd.chunk.b[rd.r:rd.w], c.cfg.MaxFrameSize)
	if err == nil && ok && f.Type != amqp.FrameAMQP {
		err = &amqp.DecodeError{Condition: amqp.ErrCondFramingError, Reason: "not an AMQP frame"}
	}
	if err != nil {
		rd.garbage = true
		c.failLocked(asError(err))
		return false
	}
	if !ok {
		return false
	}
	if !c.receiveLocked(f) {
		rd.pause = true
		return false
	}
	rd.r = rd.w - len(rest)
	return true
}

// asError is the error that the peer is told for one of a decoder.
func asError(err error) *amqp.Error {
	var d *amqp.DecodeError
	if errors.As(err, &d) {
		return d.AMQP()
	}
	return amqp.Errorf(amqp.ErrCondDecodeError, "%v", err)
}

// fill reads from the socket. It returns false when the socket is at its end.
func (rd *reader) fill() bool {
	c := rd.c
	rd.makeRoom()
	rd.arm()
	n, err := c.nc.Read(rd.chunk.b[rd.w:])
	rd.adapt(n)
	rd.w += n
	rd.reads++
	rd.bytes += uint64(n)
	if err == nil || n > 0 {
		return true // an error that came with data comes again
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && rd.deadline() {
		return true
	}
	if errors.Is(err, io.EOF) && rd.w > rd.r {
		err = io.ErrUnexpectedEOF
	}
	c.mu.Lock()
	c.dieLocked(err)
	c.mu.Unlock()
	return false
}

// makeRoom makes sure that there is room to read into behind w.
func (rd *reader) makeRoom() {
	if rd.garbage {
		rd.r, rd.w = 0, 0
	}
	size := len(rd.chunk.b)
	have := rd.w - rd.r
	switch {
	case have == 0 && rd.smallReads > 16 && size > smallChunk:
		size = smallChunk // an idle connection holds little
		rd.shrink()
	case have == size:
		// A frame larger than the chunk: it grows as bytes come in, not as the frame's size claims.
		size = min(2*size, max(int(rd.c.cfg.MaxFrameSize), size+1))
	case rd.smallReads < 0:
		size = max(size, largeChunk)
	}
	switch {
	case size != len(rd.chunk.b) || rd.chunk.shared() && len(rd.chunk.b)-rd.w < smallChunk:
		old := rd.chunk
		rd.chunk = newChunk(size)
		copy(rd.chunk.b, old.b[rd.r:rd.w])
		old.release()
		rd.r, rd.w = 0, have
	case rd.r > 0 && !rd.chunk.shared() && (have == 0 || len(rd.chunk.b)-rd.w < have+smallChunk):
		copy(rd.chunk.b, rd.chunk.b[rd.r:rd.w])
		rd.r, rd.w = 0, have
	}
}

// shrink gives up what a busy connection keeps for use again.
func (rd *reader) shrink() {
	c := rd.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.events) == 0 {
		c.events, rd.handling = nil, nil
	}
	c.freeIn, c.freeOut = nil, nil
}

// adapt learns from the size of a read which chunk suits: smallReads below zero asks for a large one.
func (rd *reader) adapt(n int) {
	switch {
	case n == len(rd.chunk.b)-rd.w:
		rd.smallReads = -1
	case n >= smallChunk:
		rd.smallReads = 0
	default:
		rd.smallReads++
	}
}

// arm sets the read deadline to the end of the handshake or of the idle time-out, not more often than needed: it may be early by an
// eighth, since deadline looks at the clock again.
func (rd *reader) arm() {
	c := rd.c
	until := rd.handshakeBy
	if rd.opened {
		if c.cfg.IdleTimeout < 0 {
			until = time.Time{}
		} else {
			until = rd.lastFrame.Add(c.cfg.IdleTimeout)
		}
	}
	if rd.isArmed && (until.Equal(rd.armed) || rd.opened && until.Sub(rd.armed) < c.cfg.IdleTimeout/8) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closeOwed || c.closeSent || len(c.events) > 0 {
		return // closeLocked or pokeLocked set it
	}
	rd.isArmed, rd.armed = true, until
	_ = c.nc.SetReadDeadline(until)
}

// deadline looks what a read deadline that has passed meant. It returns false if it was the end.
func (rd *reader) deadline() bool {
	c := rd.c
	now := time.Now()
	rd.isArmed = false
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.dead:
		return false
	case c.closeOwed || c.closeSent:
		if !now.Before(c.closeBy) {
			return false
		}
		_ = c.nc.SetReadDeadline(c.closeBy)
	case !rd.opened:
		return now.Before(rd.handshakeBy)
	case c.cfg.IdleTimeout > 0 && now.Sub(rd.lastFrame) >= c.cfg.IdleTimeout:
		// 2.4.5: try a close that says why.
		c.failLocked(amqp.Errorf(amqp.ErrCondResourceLimitExceeded, "local-idle-timeout expired: no frame for %v", c.cfg.IdleTimeout))
	}
	return true
}

// pokeLocked makes the reader look at the events, wherever it waits.
func (c *Conn) pokeLocked() {
	select {
	case c.poked <- struct{}{}:
	default:
	}
	if !c.closeOwed && !c.closeSent {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}
