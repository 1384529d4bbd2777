package amqp

import "fmt"

// formats knows all format codes: the name of the type, and the width of the data (fixed) or of the size (all others).
var formats = [256]struct {
	name  string
	width int
}{
	fcNull:       {"null", 0},
	fcTrue:       {"boolean", 0},
	fcFalse:      {"boolean", 0},
	fcUint0:      {"uint", 0},
	fcUlong0:     {"ulong", 0},
	fcList0:      {"list", 0},
	fcUbyte:      {"ubyte", 1},
	fcByte:       {"byte", 1},
	fcSmallUint:  {"uint", 1},
	fcSmallUlong: {"ulong", 1},
	fcSmallInt:   {"int", 1},
	fcSmallLong:  {"long", 1},
	fcBool:       {"boolean", 1},
	fcUshort:     {"ushort", 2},
	fcShort:      {"short", 2},
	fcUint:       {"uint", 4},
	fcInt:        {"int", 4},
	fcFloat:      {"float", 4},
	fcChar:       {"char", 4},
	fcDecimal32:  {"decimal32", 4},
	fcUlong:      {"ulong", 8},
	fcLong:       {"long", 8},
	fcDouble:     {"double", 8},
	fcTimestamp:  {"timestamp", 8},
	fcDecimal64:  {"decimal64", 8},
	fcDecimal128: {"decimal128", 16},
	fcUUID:       {"uuid", 16},
	fcBinary8:    {"binary", 1},
	fcString8:    {"string", 1},
	fcSymbol8:    {"symbol", 1},
	fcBinary32:   {"binary", 4},
	fcString32:   {"string", 4},
	fcSymbol32:   {"symbol", 4},
	fcList8:      {"list", 1},
	fcMap8:       {"map", 1},
	fcList32:     {"list", 4},
	fcMap32:      {"map", 4},
	fcArray8:     {"array", 1},
	fcArray32:    {"array", 4},
}

func typeName(code byte) string {
	if code == fcDescribed {
		return "a described type"
	}
	if name := formats[code].name; name != "" {
		return name
	}
	return fmt.Sprintf("unknown format code 0x%02x", code)
}
