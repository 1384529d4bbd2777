package amqp

// DeliveryState is the state of a delivery (3.4): Received, Accepted, Rejected, Released, Modified, Declared,
// TransactionalState, or Described for a state that this package does not know. All are values, not pointers.
type DeliveryState interface {
	appendState(b []byte) []byte
}

// Received is the only non-terminal state of the messaging layer (3.4.1).
type Received struct {
	SectionNumber uint32
	SectionOffset uint64
}

// Accepted is the outcome of a message that was processed (3.4.2).
type Accepted struct{}

// Rejected is the outcome of a message that is invalid and not processable (3.4.3).
type Rejected struct {
	Error *Error // nil if absent
}

// Released is the outcome of a message that was not and will not be acted upon (3.4.4).
type Released struct{}

// Modified is the outcome of a message that was not acted upon, and is changed (3.4.5).
type Modified struct {
	DeliveryFailed     bool
	UndeliverableHere  bool
	MessageAnnotations map[Symbol]any
}

// Declared is the outcome of a declare message (4.5.5).
type Declared struct {
	TxnID []byte
}

// TransactionalState associates a delivery with a transaction (4.5.6).
type TransactionalState struct {
	TxnID   []byte
	Outcome DeliveryState // nil if absent
}

// IsOutcome tells whether the state is terminal: after it the delivery's state changes no more. A state that this package
// does not know is taken for one that is not.
func IsOutcome(s DeliveryState) bool {
	switch s.(type) {
	case Accepted, Rejected, Released, Modified, Declared:
		return true
	}
	return false
}

// Symbolic descriptors of the outcomes, for Source.Outcomes.
const (
	OutcomeAccepted Symbol = "amqp:accepted:list"
	OutcomeRejected Symbol = "amqp:rejected:list"
	OutcomeReleased Symbol = "amqp:released:list"
	OutcomeModified Symbol = "amqp:modified:list"
	OutcomeDeclared Symbol = "amqp:declared:list"
)

// AppendState appends a delivery state; nil is written as null.
func AppendState(b []byte, s DeliveryState) []byte {
	if s == nil {
		return AppendNull(b)
	}
	return s.appendState(b)
}

// DecodeState reads one delivery state and returns what follows it. null is a nil state.
func DecodeState(b []byte) (s DeliveryState, rest []byte, err error) {
	r := reader{b: b}
	s = r.stateOrNull()
	if r.err != nil {
		return nil, nil, r.err
	}
	return s, r.b, nil
}

func (s Received) appendState(b []byte) []byte {
	w := begin(b, CodeReceived)
	w.uint(s.SectionNumber)
	w.ulong(s.SectionOffset)
	return w.end()
}

func (Accepted) appendState(b []byte) []byte {
	return append(b, fcDescribed, fcSmallUlong, byte(CodeAccepted), fcList0)
}

func (s Rejected) appendState(b []byte) []byte {
	w := begin(b, CodeRejected)
	w.error(s.Error)
	return w.end()
}

func (Released) appendState(b []byte) []byte {
	return append(b, fcDescribed, fcSmallUlong, byte(CodeReleased), fcList0)
}

func (s Modified) appendState(b []byte) []byte {
	w := begin(b, CodeModified)
	w.flag(s.DeliveryFailed)
	w.flag(s.UndeliverableHere)
	w.symbolMap(s.MessageAnnotations)
	return w.end()
}

func (s Declared) appendState(b []byte) []byte {
	w := begin(b, CodeDeclared)
	w.mustBinary(s.TxnID)
	return w.end()
}

func (s TransactionalState) appendState(b []byte) []byte {
	w := begin(b, CodeTransactionalState)
	w.mustBinary(s.TxnID)
	w.state(s.Outcome)
	return w.end()
}

func (d Described) appendState(b []byte) []byte { return AppendValue(b, d) }

// state is a field of type delivery-state.
func (f *fields) state(field string) DeliveryState {
	if !f.has(field) {
		return nil
	}
	return f.deliveryState(false)
}

// outcome is a field of type outcome: a terminal delivery-state, or one that we don't know.
func (f *fields) outcome(field string) DeliveryState {
	if !f.has(field) {
		return nil
	}
	return f.deliveryState(true)
}

func (r *reader) stateOrNull() DeliveryState {
	if r.code() == fcNull {
		r.b = r.b[1:]
		return nil
	}
	return r.deliveryState(false)
}

// States without contents of their own, made once: an interface that holds any other struct allocates.
var (
	accepted  DeliveryState = Accepted{}
	released  DeliveryState = Released{}
	rejected  DeliveryState = Rejected{}
	modifieds               = [4]DeliveryState{
		Modified{},
		Modified{DeliveryFailed: true},
		Modified{UndeliverableHere: true},
		Modified{DeliveryFailed: true, UndeliverableHere: true},
	}
)

func (r *reader) deliveryState(outcome bool) DeliveryState {
	start := r.b
	if len(start) >= 4 && start[0] == fcDescribed && start[1] == fcSmallUlong && start[3] == fcList0 {
		switch uint64(start[2]) { // the most common ones in their most common form
		case CodeAccepted:
			r.b = start[4:]
			return accepted
		case CodeReleased:
			r.b = start[4:]
			return released
		}
	}
	switch code := r.descriptor(); {
	case r.err != nil:
		return nil
	case code == CodeAccepted:
		f := r.fields("accepted")
		f.done(r)
		return accepted
	case code == CodeReleased:
		f := r.fields("released")
		f.done(r)
		return released
	case code == CodeRejected:
		f := r.fields("rejected")
		e := f.error("error")
		f.done(r)
		if e == nil {
			return rejected
		}
		return Rejected{Error: e}
	case code == CodeModified:
		return r.modified()
	case code == CodeDeclared:
		f := r.fields("declared")
		s := Declared{TxnID: f.txnID()}
		f.done(r)
		return s
	case code == CodeReceived && !outcome:
		f := r.fields("received")
		s := Received{SectionNumber: f.mustUint("section-number")}
		if f.must("section-offset") {
			s.SectionOffset = f.ulong()
		}
		f.done(r)
		return s
	case code == CodeTransactionalState && !outcome:
		f := r.fields("transactional-state")
		s := TransactionalState{TxnID: f.txnID(), Outcome: f.outcome("outcome")}
		f.done(r)
		return s
	case code == CodeReceived, code == CodeTransactionalState:
		r.invalid("not an outcome")
		return nil
	}
	if d := r.described(start); d != nil {
		return *d
	}
	return nil
}

func (r *reader) modified() DeliveryState {
	f := r.fields("modified")
	s := Modified{DeliveryFailed: f.flag("delivery-failed"), UndeliverableHere: f.flag("undeliverable-here")}
	s.MessageAnnotations = f.symbolMap("message-annotations")
	f.done(r)
	if s.MessageAnnotations != nil {
		return s
	}
	i := 0
	if s.DeliveryFailed {
		i |= 1
	}
	if s.UndeliverableHere {
		i |= 2
	}
	return modifieds[i]
}

func (f *fields) txnID() []byte {
	id := f.mustBytes("txn-id")
	if len(id) > MaxTxnIDSize {
		f.invalid("transaction-id of more than 32 bytes") // 4.5.4
	}
	return id
}
