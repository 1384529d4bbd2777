package peer

import (
	"encoding/binary"
	"fmt"
)

// direction says who sent a body: both ends of a session may be on one node.
type direction uint8

const (
	up   direction = 1 // from the agent to the leader
	down direction = 2 // from the leader to the agent
	call direction = 3 // a request or its response, of no session; the header's session is the request's id
)

// header is what a body begins with.
type header struct {
	dir     direction
	group   uint32
	session uint64
	// seq numbers the session's bodies of this direction that carry anything but Ping, Pong or Reset, from 1. A body with one
	// of those three has no number of its own: it carries that of the last body before it.
	seq uint64
}

const headerSize = 1 + 1 + 4 + 8 + 8

func appendHeader(b []byte, h header) []byte {
	b = append(b, Version, byte(h.dir))
	b = binary.BigEndian.AppendUint32(b, h.group)
	b = binary.BigEndian.AppendUint64(b, h.session)
	return binary.BigEndian.AppendUint64(b, h.seq)
}

// setSeq completes the header of a body under construction.
func setSeq(body []byte, seq uint64) { binary.BigEndian.PutUint64(body[14:], seq) }

func parseHeader(body []byte) (h header, rest []byte, err error) {
	if len(body) < headerSize {
		return h, nil, fmt.Errorf("%w: %d bytes are no header", ErrMalformed, len(body))
	}
	if len(body) > MaxBody {
		return h, nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(body))
	}
	if body[0] != Version {
		return h, nil, fmt.Errorf("%w: version %d", ErrMalformed, body[0])
	}
	h.dir = direction(body[1])
	if h.dir < up || h.dir > call {
		return h, nil, fmt.Errorf("%w: direction %d", ErrMalformed, body[1])
	}
	h.group = binary.BigEndian.Uint32(body[2:])
	h.session = binary.BigEndian.Uint64(body[6:])
	h.seq = binary.BigEndian.Uint64(body[14:])
	return h, body[headerSize:], nil
}

// appendMessage appends kind, length and fields. The length is a fixed 4 bytes, because it is known last.
func appendMessage(b []byte, m Message) []byte {
	b = append(b, byte(m.Kind()), 0, 0, 0, 0)
	at := len(b)
	b = m.appendTo(b)
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at))
	return b
}

// parseMessages reads all messages of a body. Payloads in them are parts of b.
func parseMessages(b []byte) ([]Message, error) {
	var list []Message
	var last string
	for len(b) > 0 {
		if len(b) < 5 {
			return nil, fmt.Errorf("%w: %d bytes after the last message", ErrMalformed, len(b))
		}
		kind, n := Kind(b[0]), binary.BigEndian.Uint32(b[1:])
		if uint64(n) > uint64(len(b)-5) {
			return nil, fmt.Errorf("%w: %v: %w", ErrMalformed, kind, errShort)
		}
		m := newMessage(kind)
		if m == nil {
			return nil, fmt.Errorf("%w: %v", ErrMalformed, kind)
		}
		r := reader{b: b[5 : 5+n : 5+n], last: last}
		m.decode(&r)
		if r.err != nil {
			return nil, fmt.Errorf("%w: %v: %w", ErrMalformed, kind, r.err)
		}
		last = r.last
		list = append(list, m)
		b = b[5+n:]
	}
	return list, nil
}

func newMessage(k Kind) Message {
	switch k {
	case KindReset:
		return new(Reset)
	case KindPing:
		return new(Ping)
	case KindPong:
		return new(Pong)
	case KindHello:
		return new(Hello)
	case KindWelcome:
		return new(Welcome)
	case KindNotLeader:
		return new(NotLeader)
	case KindPublish:
		return new(Publish)
	case KindAnswers:
		return new(Answers)
	case KindAckRefusals:
		return new(AckRefusals)
	case KindTopics:
		return new(Topics)
	case KindForgotten:
		return new(Forgotten)
	case KindAttach:
		return new(Attach)
	case KindAttached:
		return new(Attached)
	case KindCredit:
		return new(Credit)
	case KindDrained:
		return new(Drained)
	case KindDeliver:
		return new(Deliver)
	case KindOutcome:
		return new(Outcome)
	case KindCommitted:
		return new(Committed)
	case KindLeave:
		return new(Leave)
	case KindLeft:
		return new(Left)
	case KindState:
		return new(State)
	case KindEnded:
		return new(Ended)
	case KindWindow:
		return new(Window)
	case KindRenew:
		return new(Renew)
	case KindLease:
		return new(Lease)
	case KindNotice:
		return new(Notice)
	case KindMissed:
		return new(MissedNotice)
	case KindRequest:
		return new(request)
	case KindResponse:
		return new(response)
	}
	return nil
}
