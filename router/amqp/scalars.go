package amqp

import (
	"encoding/binary"
	"unicode/utf8"
)

// The methods of a reader that consume one value of a given type, in whichever of its encodings.

func (r *reader) bool() bool {
	switch r.code() {
	case fcTrue:
		r.b = r.b[1:]
		return true
	case fcFalse:
		r.b = r.b[1:]
		return false
	case fcBool:
		return r.boolData(r.fixed(1))
	}
	r.wrongType("boolean")
	return false
}

func (r *reader) boolData(d []byte) bool {
	if len(d) == 1 && d[0] > 1 {
		r.fail(ErrCondDecodeError, "boolean is neither 0 nor 1")
	}
	return len(d) == 1 && d[0] == 1
}

func (r *reader) ubyte() uint8 {
	if r.code() == fcUbyte {
		if d := r.fixed(1); d != nil {
			return d[0]
		}
		return 0
	}
	r.wrongType("ubyte")
	return 0
}

func (r *reader) ushort() uint16 {
	if r.code() == fcUshort {
		if d := r.fixed(2); d != nil {
			return binary.BigEndian.Uint16(d)
		}
		return 0
	}
	r.wrongType("ushort")
	return 0
}

func (r *reader) uint() uint32 {
	switch r.code() {
	case fcUint0:
		r.b = r.b[1:]
		return 0
	case fcSmallUint:
		if d := r.fixed(1); d != nil {
			return uint32(d[0])
		}
		return 0
	case fcUint:
		if d := r.fixed(4); d != nil {
			return binary.BigEndian.Uint32(d)
		}
		return 0
	}
	r.wrongType("uint")
	return 0
}

func (r *reader) ulong() uint64 {
	switch r.code() {
	case fcUlong0:
		r.b = r.b[1:]
		return 0
	case fcSmallUlong:
		if d := r.fixed(1); d != nil {
			return uint64(d[0])
		}
		return 0
	case fcUlong:
		if d := r.fixed(8); d != nil {
			return binary.BigEndian.Uint64(d)
		}
		return 0
	}
	r.wrongType("ulong")
	return 0
}

func (r *reader) timestamp() int64 {
	if r.code() == fcTimestamp {
		if d := r.fixed(8); d != nil {
			return int64(binary.BigEndian.Uint64(d))
		}
		return 0
	}
	r.wrongType("timestamp")
	return 0
}

// binary returns a slice of the input, never nil but with an error.
func (r *reader) binary() []byte {
	switch r.code() {
	case fcBinary8:
		return r.variable(1)
	case fcBinary32:
		return r.variable(4)
	}
	r.wrongType("binary")
	return nil
}

// text returns the bytes of a string, a slice of the input.
func (r *reader) text() []byte {
	var d []byte
	switch r.code() {
	case fcString8:
		d = r.variable(1)
	case fcString32:
		d = r.variable(4)
	default:
		r.wrongType("string")
		return nil
	}
	return r.checkText(d)
}

func (r *reader) checkText(d []byte) []byte {
	if !utf8.Valid(d) {
		r.fail(ErrCondDecodeError, "string is not UTF-8")
		return nil
	}
	return d
}

func (r *reader) string() string { return string(r.text()) }

// symbolBytes returns the bytes of a symbol, a slice of the input.
func (r *reader) symbolBytes() []byte {
	var d []byte
	switch r.code() {
	case fcSymbol8:
		d = r.variable(1)
	case fcSymbol32:
		d = r.variable(4)
	default:
		r.wrongType("symbol")
		return nil
	}
	return r.checkSymbol(d)
}

func (r *reader) checkSymbol(d []byte) []byte {
	for _, c := range d {
		if c >= utf8.RuneSelf {
			r.fail(ErrCondDecodeError, "symbol is not ASCII")
			return nil
		}
	}
	return d
}

func (r *reader) symbol() Symbol { return Symbol(r.symbolBytes()) }
