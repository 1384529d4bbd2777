package amqp

import "fmt"

// Error is the error type of the specification (2.8.14): what a peer is told, or told us, in detach, end, close and
// the rejected outcome. Its pointer is a Go error.
type Error struct {
	Condition   Symbol
	Description string
	Info        map[Symbol]any
}

// Error gives condition and description.
func (e *Error) Error() string {
	if e.Description == "" {
		return string(e.Condition)
	}
	return string(e.Condition) + ": " + e.Description
}

// Errorf makes an Error with a formatted description.
func Errorf(condition Symbol, format string, args ...any) *Error {
	return &Error{Condition: condition, Description: fmt.Sprintf(format, args...)}
}

// DecodeError says why bytes are not what they should be. All decoders of this package return it (as a *DecodeError
// inside the error interface).
type DecodeError struct {
	// Condition is what the peer should be told: ErrCondDecodeError if the bytes don't follow the type system,
	// ErrCondInvalidField if a field is missing, of a wrong type or out of its range, ErrCondFramingError if the frame
	// header or protocol header is malformed.
	Condition Symbol
	Type      string // the composite, in the words of the specification ("transfer"); may be empty
	Field     string // its field ("delivery-id"); may be empty
	Reason    string
}

// Error names the type, the field, the reason and the condition.
func (e *DecodeError) Error() string {
	where := e.Type
	if e.Field != "" {
		if where != "" {
			where += "."
		}
		where += e.Field
	}
	if where != "" {
		where += ": "
	}
	return "amqp: " + where + e.Reason + " (" + string(e.Condition) + ")"
}

// AMQP is the same as an error for the peer.
func (e *DecodeError) AMQP() *Error {
	d := &DecodeError{Type: e.Type, Field: e.Field, Reason: e.Reason}
	text := d.Error()
	return &Error{Condition: e.Condition, Description: text[len("amqp: ") : len(text)-len(" ()")]}
}

func (e *Error) append(b []byte) []byte {
	w := begin(b, CodeError)
	if e.Condition == "" { // mandatory
		w.mustSymbol(ErrCondInternalError)
	} else {
		w.mustSymbol(e.Condition)
	}
	w.string(e.Description)
	w.symbolMap(e.Info)
	return w.end()
}

func (f *fields) error(field string) *Error {
	if !f.has(field) {
		return nil
	}
	e := new(Error)
	g := f.composite(f.typ, CodeError)
	g.typ = "error"
	if g.must("condition") {
		e.Condition = g.symbol()
	}
	e.Description = g.stringOr("description")
	e.Info = g.symbolMap("info")
	g.done(&f.reader)
	return e
}
