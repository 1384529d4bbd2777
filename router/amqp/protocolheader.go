package amqp

import "fmt"

// ProtocolHeader is the 8 bytes that begin a connection or a security layer (2.2, 5.2, 5.3).
type ProtocolHeader struct {
	ID, Major, Minor, Revision uint8
}

// ProtocolHeaderSize is the size of a protocol header.
const ProtocolHeaderSize = 8

// The protocol headers of AMQP 1.0.
var (
	HeaderAMQP = ProtocolHeader{ID: 0, Major: 1}
	HeaderTLS  = ProtocolHeader{ID: 2, Major: 1}
	HeaderSASL = ProtocolHeader{ID: 3, Major: 1}
)

// Append appends the 8 bytes.
func (h ProtocolHeader) Append(b []byte) []byte {
	return append(b, 'A', 'M', 'Q', 'P', h.ID, h.Major, h.Minor, h.Revision)
}

// ParseProtocolHeader reads a protocol header from the first 8 bytes of b. Input that is shorter, or does not begin with
// "AMQP", is a framing error. Whether the protocol is one that we speak is for the caller to say.
func ParseProtocolHeader(b []byte) (ProtocolHeader, error) {
	if len(b) < ProtocolHeaderSize || string(b[:4]) != "AMQP" {
		return ProtocolHeader{}, &DecodeError{Condition: ErrCondFramingError, Type: "protocol header", Reason: "does not begin with AMQP"}
	}
	return ProtocolHeader{ID: b[4], Major: b[5], Minor: b[6], Revision: b[7]}, nil
}

// String gives the name of a known protocol and the numbers of others.
func (h ProtocolHeader) String() string {
	switch h {
	case HeaderAMQP:
		return "AMQP 1.0.0"
	case HeaderTLS:
		return "TLS for AMQP 1.0.0"
	case HeaderSASL:
		return "SASL for AMQP 1.0.0"
	}
	return fmt.Sprintf("AMQP protocol %d, version %d.%d.%d", h.ID, h.Major, h.Minor, h.Revision)
}
