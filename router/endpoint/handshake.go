package endpoint

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

// negotiate exchanges protocol headers, and does SASL (2.2, 5.3). It runs before there is a writer, within the deadline of the handshake.
func (c *Conn) negotiate() error {
	if c.dialled {
		return c.negotiateClient()
	}
	h, err := c.rd.header()
	if err == nil && h == amqp.HeaderSASL {
		if err := c.saslServer(); err != nil {
			return err
		}
		h, err = c.rd.header()
	} else if err == nil && h == amqp.HeaderAMQP {
		if !c.cfg.Authenticate.Bare {
			return c.wrongHeader(h)
		}
		if _, err := c.checkUser("", "", ""); err != nil {
			_ = c.say(amqp.HeaderSASL.Append(nil))
			return err
		}
	}
	if err != nil && !errors.Is(err, errNoHeader) {
		return err
	}
	if err != nil || h != amqp.HeaderAMQP {
		return c.wrongHeader(h)
	}
	return c.say(amqp.HeaderAMQP.Append(nil))
}

// wrongHeader answers a header that we can't go on with by one that we could (2.2).
func (c *Conn) wrongHeader(h amqp.ProtocolHeader) error {
	want := amqp.HeaderSASL
	if c.cfg.Authenticate.Bare {
		want = amqp.HeaderAMQP
	}
	_ = c.say(want.Append(nil))
	return fmt.Errorf("%w: protocol header is %v", ErrHandshake, h)
}

func (c *Conn) negotiateClient() error {
	if c.cfg.SASL != nil {
		if err := c.exchange(amqp.HeaderSASL); err != nil {
			return err
		}
		if err := c.saslClient(); err != nil {
			return err
		}
	}
	return c.exchange(amqp.HeaderAMQP)
}

// exchange sends a protocol header and wants the same one back.
func (c *Conn) exchange(want amqp.ProtocolHeader) error {
	if err := c.say(want.Append(nil)); err != nil {
		return err
	}
	h, err := c.rd.header()
	if err != nil {
		return err
	}
	if h != want {
		return fmt.Errorf("%w: protocol header is %v, want %v", ErrHandshake, h, want)
	}
	return nil
}

// say writes during the handshake.
func (c *Conn) say(b []byte) error {
	if _, err := c.nc.Write(b); err != nil {
		return fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	return nil
}

var errNoHeader = errors.New("not AMQP")

// header reads a protocol header. The error wraps errNoHeader if there are bytes but they are none.
func (rd *reader) header() (amqp.ProtocolHeader, error) {
	for rd.w-rd.r < amqp.ProtocolHeaderSize {
		if err := rd.more(); err != nil {
			return amqp.ProtocolHeader{}, err
		}
	}
	h, err := amqp.ParseProtocolHeader(rd.chunk.b[rd.r:rd.w])
	if err != nil {
		return h, fmt.Errorf("%w: %w: %w", ErrHandshake, errNoHeader, err)
	}
	rd.r += amqp.ProtocolHeaderSize
	return h, nil
}

// more reads during the handshake.
func (rd *reader) more() error {
	rd.makeRoom()
	n, err := rd.c.nc.Read(rd.chunk.b[rd.w:])
	rd.w += n
	rd.reads++
	rd.bytes += uint64(n)
	if n == 0 && err != nil {
		return fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	return nil
}

// lingerFor is how long a peer that was turned away has to read why.
const lingerFor = time.Second

// linger keeps the socket until the peer has read what we said last: closing it with unread input would take that away from it (5.1).
func (c *Conn) linger() {
	if w, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	} else {
		_ = c.nc.Close()
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerFor))
	_, _ = io.Copy(io.Discard, c.nc)
}

var _ interface{ CloseWrite() error } = (*net.TCPConn)(nil)
