package amqp

import (
	"encoding/binary"
	"fmt"
)

// FrameHeaderSize is the size of a frame header without extension (2.3.1).
const FrameHeaderSize = 8

// Frame types (2.3.1).
const (
	FrameAMQP uint8 = 0
	FrameSASL uint8 = 1
)

// Frame is one frame as it lies in a buffer.
type Frame struct {
	Type    uint8
	Channel uint16 // bytes 6 and 7: meaningless in a SASL frame
	Body    []byte // a slice of the buffer; empty in a heartbeat
}

// FrameSize reads the size of the frame that b begins with: 0 without error if b is too short to tell. A malformed header, or a
// size above max, is a framing error.
func FrameSize(b []byte, max uint32) (size int, err error) {
	if len(b) < 4 {
		return 0, nil
	}
	n := binary.BigEndian.Uint32(b)
	switch {
	case n < FrameHeaderSize:
		return 0, framingError("frame size %d is less than its header", n)
	case n > max:
		return 0, framingError("frame size %d is above the maximum of %d", n, max)
	case len(b) >= FrameHeaderSize && b[4] < 2:
		return 0, framingError("data offset %d points into the frame header", b[4])
	case len(b) >= FrameHeaderSize && uint32(b[4])*4 > n:
		return 0, framingError("data offset %d points behind a frame of %d bytes", b[4], n)
	}
	return int(n), nil
}

// NextFrame cuts the first frame off b. ok is false if b does not hold a whole frame yet. A malformed header, or a size above
// max, is a framing error, told as soon as the header is there. The type is the caller's to check.
func NextFrame(b []byte, max uint32) (f Frame, rest []byte, ok bool, err error) {
	size, err := FrameSize(b, max)
	if err != nil || size == 0 || size > len(b) {
		return Frame{}, b, false, err
	}
	f = Frame{
		Type:    b[5],
		Channel: binary.BigEndian.Uint16(b[6:]),
		Body:    b[4*int(b[4]) : size : size], // the extended header is ignored (2.3.2, 5.3.1)
	}
	return f, b[size:], true, nil
}

// BeginFrame appends a frame header whose size EndFrame fills in.
func BeginFrame(b []byte, typ uint8, channel uint16) []byte {
	return append(b, 0, 0, 0, 0, FrameHeaderSize/4, typ, byte(channel>>8), byte(channel))
}

// EndFrame fills in the size of the frame that begins at b[start] and ends with b, plus extra bytes of payload that the
// caller writes behind b itself.
func EndFrame(b []byte, start, extra int) []byte {
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start+extra))
	return b
}

// AppendFrame appends a frame with a performative and no payload. A p that lies on the caller's stack is moved to the heap by
// this; hot paths use a struct that lives on, or BeginFrame, Append and EndFrame.
func AppendFrame(b []byte, channel uint16, p Performative) []byte {
	start := len(b)
	return EndFrame(p.Append(BeginFrame(b, FrameAMQP, channel)), start, 0)
}

// AppendTransferFrame appends header and performative of a transfer frame for a payload of the given size, which the
// caller writes behind it. It does not allocate. With More unset the result is never longer than with More set.
func AppendTransferFrame(b []byte, channel uint16, t *Transfer, payload int) []byte {
	start := len(b)
	return EndFrame(t.Append(BeginFrame(b, FrameAMQP, channel)), start, payload)
}

// AppendHeartbeat appends an empty frame, which only shows that we live (2.4.5).
func AppendHeartbeat(b []byte) []byte {
	return append(b, 0, 0, 0, FrameHeaderSize, FrameHeaderSize/4, FrameAMQP, 0, 0)
}

// AppendSASLFrame appends a SASL frame.
func AppendSASLFrame(b []byte, x SASLBody) []byte {
	start := len(b)
	return EndFrame(x.Append(BeginFrame(b, FrameSASL, 0)), start, 0)
}

func framingError(format string, args ...any) error {
	return &DecodeError{Condition: ErrCondFramingError, Type: "frame", Reason: fmt.Sprintf(format, args...)}
}
