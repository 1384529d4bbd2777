package amqp

// SASLMechanisms advertises the mechanisms of the server (5.3.4).
type SASLMechanisms struct {
	Mechanisms []Symbol
}

// SASLInit chooses a mechanism (5.3.5).
type SASLInit struct {
	Mechanism       Symbol
	InitialResponse []byte // nil if absent
	Hostname        string
}

// SASLChallenge carries a challenge of the server (5.3.6).
type SASLChallenge struct {
	Challenge []byte
}

// SASLResponse carries the client's response (5.3.7).
type SASLResponse struct {
	Response []byte
}

// SASLOutcome ends the dialog (5.3.8).
type SASLOutcome struct {
	Code           SASLCode
	AdditionalData []byte // nil if absent
}

// SASLCode is the outcome of a SASL dialog (5.3.9).
type SASLCode uint8

const (
	SASLOK      SASLCode = 0
	SASLAuth    SASLCode = 1 // the credentials are wrong
	SASLSys     SASLCode = 2 // a system error
	SASLSysPerm SASLCode = 3 // a permanent one
	SASLSysTemp SASLCode = 4 // a passing one
)

// DecodeSASL decodes the body of a SASL frame, which is exactly one of the SASL types; an empty one is an error (5.3.1).
func DecodeSASL(body []byte) (SASLBody, error) {
	r := reader{b: body, typ: "sasl frame"}
	code := r.descriptor()
	if r.err != nil {
		return nil, r.err
	}
	var x SASLBody
	var typ string
	switch code {
	case CodeSASLMechanisms:
		x, typ = new(SASLMechanisms), "sasl-mechanisms"
	case CodeSASLInit:
		x, typ = new(SASLInit), "sasl-init"
	case CodeSASLChallenge:
		x, typ = new(SASLChallenge), "sasl-challenge"
	case CodeSASLResponse:
		x, typ = new(SASLResponse), "sasl-response"
	case CodeSASLOutcome:
		x, typ = new(SASLOutcome), "sasl-outcome"
	default:
		r.fail(ErrCondDecodeError, "unknown descriptor")
		return nil, r.err
	}
	f := r.fields(typ)
	x.decode(&f)
	f.done(&r)
	if len(r.b) > 0 {
		r.fail(ErrCondDecodeError, "bytes behind the body")
	}
	if r.err != nil {
		return nil, r.err
	}
	return x, nil
}

// Descriptor is CodeSASLMechanisms.
func (x *SASLMechanisms) Descriptor() uint64 { return CodeSASLMechanisms }

// Append appends the encoded body.
func (x *SASLMechanisms) Append(b []byte) []byte {
	w := begin(b, CodeSASLMechanisms)
	w.field() // mandatory: an array even if it is empty
	w.b = appendSymbols(w.b, x.Mechanisms)
	return w.end()
}

func (x *SASLMechanisms) decode(f *fields) {
	x.Mechanisms = f.symbols("sasl-server-mechanisms")
	if len(x.Mechanisms) == 0 {
		f.invalid("mandatory field is missing or empty")
	}
}

// Descriptor is CodeSASLInit.
func (x *SASLInit) Descriptor() uint64 { return CodeSASLInit }

// Append appends the encoded body.
func (x *SASLInit) Append(b []byte) []byte {
	w := begin(b, CodeSASLInit)
	w.mustSymbol(x.Mechanism)
	w.binary(x.InitialResponse)
	w.string(x.Hostname)
	return w.end()
}

func (x *SASLInit) decode(f *fields) {
	if f.must("mechanism") {
		x.Mechanism = f.symbol()
	}
	x.InitialResponse = f.bytes("initial-response")
	x.Hostname = f.stringOr("hostname")
}

// Descriptor is CodeSASLChallenge.
func (x *SASLChallenge) Descriptor() uint64 { return CodeSASLChallenge }

// Append appends the encoded body.
func (x *SASLChallenge) Append(b []byte) []byte {
	w := begin(b, CodeSASLChallenge)
	w.mustBinary(x.Challenge)
	return w.end()
}

func (x *SASLChallenge) decode(f *fields) { x.Challenge = f.mustBytes("challenge") }

// Descriptor is CodeSASLResponse.
func (x *SASLResponse) Descriptor() uint64 { return CodeSASLResponse }

// Append appends the encoded body.
func (x *SASLResponse) Append(b []byte) []byte {
	w := begin(b, CodeSASLResponse)
	w.mustBinary(x.Response)
	return w.end()
}

func (x *SASLResponse) decode(f *fields) { x.Response = f.mustBytes("response") }

// Descriptor is CodeSASLOutcome.
func (x *SASLOutcome) Descriptor() uint64 { return CodeSASLOutcome }

// Append appends the encoded body.
func (x *SASLOutcome) Append(b []byte) []byte {
	w := begin(b, CodeSASLOutcome)
	w.ubyte(uint8(x.Code))
	w.binary(x.AdditionalData)
	return w.end()
}

func (x *SASLOutcome) decode(f *fields) {
	if f.must("code") {
		x.Code = SASLCode(f.ubyte())
		if x.Code > SASLSysTemp {
			f.invalid("no such code")
		}
	}
	x.AdditionalData = f.bytes("additional-data")
}
