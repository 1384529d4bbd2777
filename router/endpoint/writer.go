package endpoint

import (
	"net"
	"sync"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

// writer is the writing half of a connection: it belongs to its own goroutine.
type writer struct {
	c *Conn
	// buf is what is written, except the pieces of large payloads that go between its bytes.
	buf     []byte
	pieces  []piece
	pieced  int        // bytes of payload in pieces
	copies  []copyLate // small payloads that are copied into buf after the lock is dropped
	vectors net.Buffers
	writev  bool

	transfer    amqp.Transfer
	flow        amqp.Flow
	disposition amqp.Disposition
	detach      amqp.Detach

	lastWrite time.Time
}

// piece is payload that goes out from where it lies.
type piece struct {
	at      int // its place in buf
	b       []byte
	message *Message // to be released when it is written
}

// copyLate is payload that is to be copied into the room left for it in buf, and then released.
type copyLate struct {
	at      int
	b       []byte
	message *Message
}

const (
	// outFrameMax is the largest frame that we make, whatever the peer takes.
	outFrameMax = 64 << 10
	// One write has about as many bytes as these, so that what is urgent does not wait long behind what is large.
	writeInline = 64 << 10
	writePieced = 256 << 10
	// copyBelow is the payload size of a frame from which it is cheaper to hand its memory to writev than to copy it.
	copyBelow = 8 << 10
)

var writeBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, writeInline+writeInline/2)
	return &b
}}

// write turns what is owed into frames and writes them, until the connection is over. It runs on a goroutine of its own.
func (c *Conn) write() {
	defer close(c.writerDone)
	w := &writer{c: c, lastWrite: time.Now()}
	_, w.writev = c.nc.(*net.TCPConn)
	beat := time.NewTimer(time.Hour)
	defer beat.Stop()
	for {
		buf := writeBuffers.Get().(*[]byte)
		w.buf = (*buf)[:0]
		over := w.turn()
		if cap(w.buf) <= 2*writeInline {
			*buf = w.buf
			writeBuffers.Put(buf)
		}
		w.buf = nil
		if over {
			return
		}
		w.sleep(beat)
	}
}

// turn writes until nothing is owed, and parks. It returns true when nothing will be owed any more.
func (w *writer) turn() bool {
	c := w.c
	for {
		c.mu.Lock()
		w.renderLocked()
		some := len(w.buf) > 0
		if some {
			c.stats.Writes++
			c.stats.BytesOut += uint64(len(w.buf) + w.pieced)
		}
		over := c.dead || c.closeSent && (c.closeRcvd || !some)
		if !some && !over {
			c.parked = true
		}
		c.mu.Unlock()
		if some {
			if err := w.flush(); err != nil {
				c.mu.Lock()
				c.dieLocked(err)
				c.mu.Unlock()
				_ = c.nc.Close() // the reader notices
				return true
			}
			continue
		}
		if over {
			return true
		}
		return false
	}
}

// sleep waits until something is owed or a heartbeat is due.
func (w *writer) sleep(beat *time.Timer) {
	c := w.c
	c.mu.Lock()
	every := c.beatEvery
	c.mu.Unlock()
	if every == 0 {
		<-c.wake
		return
	}
	beat.Reset(time.Until(w.lastWrite.Add(every)))
	select {
	case <-c.wake:
	case <-beat.C:
		c.mu.Lock()
		if c.parked {
			c.parked = false
		} else {
			<-c.wake // somebody has woken us just now
		}
		c.mu.Unlock()
	}
}

// flush writes what was rendered. Called without the lock.
func (w *writer) flush() error {
	c := w.c
	for i := range w.copies {
		e := &w.copies[i]
		copy(w.buf[e.at:], e.b)
		e.message.Release()
	}
	clear(w.copies)
	w.copies = w.copies[:0]
	c.setWriteDeadline()
	var err error
	switch {
	case len(w.pieces) == 0:
		_, err = c.nc.Write(w.buf)
	case w.writev:
		w.vectors = w.vectors[:0]
		at := 0
		for _, p := range w.pieces {
			if p.at > at {
				w.vectors = append(w.vectors, w.buf[at:p.at])
				at = p.at
			}
			w.vectors = append(w.vectors, p.b)
		}
		if at < len(w.buf) {
			w.vectors = append(w.vectors, w.buf[at:])
		}
		v := w.vectors
		_, err = v.WriteTo(c.nc)
		clear(w.vectors)
	default:
		// Without writev each piece would be a write, and a record of TLS, of its own.
		whole := make([]byte, 0, len(w.buf)+w.pieced)
		at := 0
		for _, p := range w.pieces {
			whole = append(append(whole, w.buf[at:p.at]...), p.b...)
			at = p.at
		}
		_, err = c.nc.Write(append(whole, w.buf[at:]...))
	}
	for i := range w.pieces {
		w.pieces[i].message.Release()
	}
	clear(w.pieces)
	w.buf, w.pieces, w.pieced = w.buf[:0], w.pieces[:0], 0
	w.lastWrite = time.Now()
	return err
}

// setWriteDeadline bounds the next write.
func (c *Conn) setWriteDeadline() {
	until := time.Now().Add(c.cfg.WriteTimeout)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closeBy.IsZero() && c.closeBy.Before(until) {
		until = c.closeBy
	}
	_ = c.nc.SetWriteDeadline(until)
}
