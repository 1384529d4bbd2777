package endpoint

import (
	"slices"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

// receiveLocked takes in one frame. It returns false, and has done nothing, if the frame has to wait for memory.
func (c *Conn) receiveLocked(f amqp.Frame) bool {
	if len(f.Body) == 0 {
		return true // 2.4.5: empty frames mean nothing
	}
	code, err := amqp.PerformativeCode(f.Body)
	switch {
	case c.discarding:
		// 2.4.6 DISCARDING: nothing but the peer's close counts. One that we can't read is one as well.
		if err == nil && code == amqp.CodeClose {
			c.receiveCloseLocked(f)
		}
		return true
	case err != nil:
		c.failLocked(asError(err))
		return true
	case c.remote == nil && code != amqp.CodeOpen:
		// 2.4.1: before any other frame.
		c.failLocked(amqp.Errorf(amqp.ErrCondNotAllowed, "the first frame is not an open"))
		return true
	}
	switch code {
	case amqp.CodeOpen:
		c.receiveOpenLocked(f)
	case amqp.CodeBegin:
		c.receiveBeginLocked(f)
	case amqp.CodeClose:
		c.receiveCloseLocked(f)
	case amqp.CodeAttach, amqp.CodeFlow, amqp.CodeTransfer, amqp.CodeDisposition, amqp.CodeDetach, amqp.CodeEnd:
		s := c.sessionLocked(f.Channel)
		if s != nil {
			return s.receiveLocked(code, f.Body)
		}
	default:
		c.failLocked(amqp.Errorf(amqp.ErrCondNotImplemented, "unknown performative 0x%x", code))
	}
	return true
}

// sessionLocked finds the session of a peer's channel. It fails the connection if there is none.
func (c *Conn) sessionLocked(channel uint16) *Session {
	if !c.checkChannelLocked(channel) {
		return nil
	}
	if int(channel) < len(c.in) && c.in[channel] != nil {
		return c.in[channel]
	}
	c.failLocked(amqp.Errorf(amqp.ErrCondNotAllowed, "no session on channel %d", channel))
	return nil
}

// checkChannelLocked: 2.7.1 channel-max.
func (c *Conn) checkChannelLocked(channel uint16) bool {
	if channel <= c.cfg.ChannelMax {
		return true
	}
	c.failLocked(amqp.Errorf(amqp.ErrCondFramingError, "channel %d is above channel-max %d", channel, c.cfg.ChannelMax))
	return false
}

// failLocked closes the connection for a mistake of the peer's.
func (c *Conn) failLocked(err *amqp.Error) {
	if c.closeOwed || c.closeSent {
		return
	}
	c.closeLocked(err)
	c.loseSessionsLocked(err)
}

// minIdle is the shortest idle time-out of a peer that we undertake to satisfy.
const minIdle = 10 * time.Millisecond

func (c *Conn) receiveOpenLocked(f amqp.Frame) {
	o := new(amqp.Open)
	_, err := o.Decode(f.Body)
	switch {
	case err != nil:
		c.failLocked(asError(err))
		return
	case c.remote != nil:
		c.failLocked(amqp.Errorf(amqp.ErrCondNotAllowed, "second open"))
		return
	case f.Channel != 0:
		c.failLocked(amqp.Errorf(amqp.ErrCondNotAllowed, "open on channel %d", f.Channel)) // 2.4.1
		return
	case o.MaxFrameSize < amqp.MinMaxFrameSize:
		// 2.7.1: both peers MUST accept 512.
		c.failLocked(amqp.Errorf(amqp.ErrCondInvalidField, "open.max-frame-size is %d, below %d", o.MaxFrameSize, amqp.MinMaxFrameSize))
		return
	}
	idle := time.Duration(o.IdleTimeOut) * time.Millisecond
	if idle > 0 && idle < minIdle {
		c.failLocked(amqp.Errorf(amqp.ErrCondInvalidField, "open.idle-time-out of %v is too short, at least %v is needed", idle, minIdle)) // 2.4.5
		return
	}
	c.remote = o
	c.rd.opened = true
	// Frames no larger than outFrameMax, whatever the peer takes: a large one would keep all other links waiting.
	c.frameMax = min(o.MaxFrameSize, outFrameMax)
	c.channelMax = min(o.ChannelMax, c.cfg.ChannelMax)
	c.beatEvery = idle / 2
	c.events = append(c.events, event{kind: evOpened, rare: &rareEvent{open: o}})
	for _, s := range c.out {
		if s != nil && s.local > o.ChannelMax {
			s.vanishLocked(amqp.Errorf(amqp.ErrCondResourceLimitExceeded, "the peer takes channels up to %d", o.ChannelMax))
		}
	}
	c.owedLocked(&c.batch) // the writer learns of the heartbeats, if nothing else
}

func (c *Conn) receiveBeginLocked(f amqp.Frame) {
	if !c.checkChannelLocked(f.Channel) {
		return
	}
	var b amqp.Begin
	if _, err := b.Decode(f.Body); err != nil {
		c.failLocked(asError(err)) // there is no session yet that could be ended
		return
	}
	if int(f.Channel) < len(c.in) && c.in[f.Channel] != nil {
		s := c.in[f.Channel]
		if !s.endOwed && !s.endSent {
			s.failLocked(amqp.Errorf(amqp.ErrCondIllegalState, "channel %d has a session already", f.Channel))
		}
		return
	}
	size := int64(len(f.Body))
	if c.attachBytes+size > c.cfg.MaxAttachBytes {
		c.failLocked(amqp.Errorf(amqp.ErrCondResourceLimitExceeded, "too much in begin and attach frames"))
		return
	}
	var s *Session
	if b.RemoteChannel.Set {
		if n := int(b.RemoteChannel.Value); n < len(c.out) {
			s = c.out[n]
		}
		if s == nil || !s.initiated || s.remote != nil || !s.beginSent {
			c.failLocked(amqp.Errorf(amqp.ErrCondInvalidField, "begin.remote-channel %d is no session that waits for an answer", b.RemoteChannel.Value))
			return
		}
	} else if s = c.newSessionLocked(); s == nil {
		c.failLocked(amqp.Errorf(amqp.ErrCondResourceLimitExceeded, "no channel is left to answer a begin"))
		return
	}
	if n := int(f.Channel) + 1; n > len(c.in) {
		c.in = append(c.in, make([]*Session, n-len(c.in))...)
	}
	c.in[f.Channel] = s
	s.size = size
	c.attachBytes += size
	s.begunLocked(f.Channel, &b)
}

func (c *Conn) receiveCloseLocked(f amqp.Frame) {
	var cl amqp.Close
	_, err := cl.Decode(f.Body)
	if err != nil && !c.discarding {
		c.failLocked(asError(err))
	}
	c.closeRcvd = true
	if c.closeOwed || c.closeSent {
		c.stopLocked()
		return
	}
	c.peerErr = cl.Error
	c.loseSessionsLocked(nil)
	c.closeOwed, c.discarding, c.openHeld = true, true, false
	c.closeBy = time.Now().Add(c.cfg.CloseTimeout)
	_ = c.nc.SetDeadline(c.closeBy)
	c.stopLocked()
}

// newSessionLocked makes a session on the lowest free channel (2.5.1); nil if there is none.
func (c *Conn) newSessionLocked() *Session {
	i := slices.Index(c.out, nil)
	if i < 0 {
		i = len(c.out)
		if i > int(c.channelMax) {
			return nil
		}
		c.out = append(c.out, nil)
	}
	s := &Session{
		conn:   c,
		local:  uint16(i),
		window: c.cfg.SessionWindow,
		// The peer's begin says how much it takes; it counts from our first transfer-id, which is 0.
		handleMax: c.cfg.HandleMax,
	}
	c.out[i] = s
	return s
}

// loseSessionsLocked tells the handler that all sessions are gone, and nothing is sent in them any more.
func (c *Conn) loseSessionsLocked(err *amqp.Error) {
	for _, s := range c.out {
		if s != nil {
			s.loseLocked(err)
		}
	}
}
