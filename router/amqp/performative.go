package amqp

// Performative is the body of an AMQP frame: *Open, *Begin, *Attach, *Flow, *Transfer, *Disposition, *Detach, *End or *Close.
type Performative interface {
	// Descriptor is the numeric descriptor, CodeOpen and so on.
	Descriptor() uint64
	// Append appends the encoded performative (not its frame header, not its payload).
	Append(b []byte) []byte
	// Decode reads the performative at the beginning of body over whatever the struct held before, and returns what
	// follows it: the payload of a transfer, a slice of body. With an error the struct is not to be used.
	Decode(body []byte) (payload []byte, err error)
}

// SASLBody is the body of a SASL frame: *SASLMechanisms, *SASLInit, *SASLChallenge, *SASLResponse or *SASLOutcome.
type SASLBody interface {
	// Descriptor is the numeric descriptor, CodeSASLMechanisms and so on.
	Descriptor() uint64
	// Append appends the encoded body, without a frame header.
	Append(b []byte) []byte
	decode(f *fields)
}

// PerformativeCode tells which performative a frame body begins with (CodeOpen ... CodeClose, or another code
// for something that is none) without decoding it, so that the caller can decode hot ones into its own struct.
func PerformativeCode(body []byte) (uint64, error) {
	r := reader{b: body, typ: "performative"}
	code := r.descriptor()
	if r.err != nil {
		return 0, r.err
	}
	return code, nil
}

// DecodePerformative decodes whichever performative a frame body begins with into a new struct.
func DecodePerformative(body []byte) (p Performative, payload []byte, err error) {
	code, err := PerformativeCode(body)
	if err != nil {
		return nil, nil, err
	}
	switch code {
	case CodeOpen:
		p = new(Open)
	case CodeBegin:
		p = new(Begin)
	case CodeAttach:
		p = new(Attach)
	case CodeFlow:
		p = new(Flow)
	case CodeTransfer:
		p = new(Transfer)
	case CodeDisposition:
		p = new(Disposition)
	case CodeDetach:
		p = new(Detach)
	case CodeEnd:
		p = new(End)
	case CodeClose:
		p = new(Close)
	default:
		return nil, nil, &DecodeError{Condition: ErrCondDecodeError, Type: "performative", Reason: "unknown descriptor"}
	}
	payload, err = p.Decode(body)
	if err != nil {
		return nil, nil, err
	}
	return p, payload, nil
}

// result ends a decoder: what follows the value, or the error as an error (a nil *DecodeError inside one would not be nil).
func (r *reader) result() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	return r.b, nil
}
