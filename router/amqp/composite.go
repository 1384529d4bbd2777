package amqp

// fields reads the fields of a composite one after the other (1.3). Its methods name the field, which errors then do too.
// A composite may have fewer fields than we know, the rest being null, and more, which are ignored.
type fields struct {
	reader
	left int
}

// composite begins a composite whose descriptor must be the given one.
func (r *reader) composite(typ string, code uint64) fields {
	r.typ = typ
	if c := r.descriptor(); c != code && r.err == nil {
		r.fail(ErrCondDecodeError, "other descriptor")
	}
	return r.fields(typ)
}

// fields begins a composite whose descriptor is consumed.
func (r *reader) fields(typ string) fields {
	outer, field := r.typ, r.field
	r.typ, r.field = typ, ""
	items, n := r.list()
	r.typ, r.field = outer, field
	return fields{reader: reader{b: items, err: r.err, typ: typ, weightless: r.weightless}, left: n}
}

// done ends a composite and hands its error to the reader that it was begun with. Fields that we don't know are skipped.
func (f *fields) done(r *reader) {
	f.field = ""
	for f.left > 0 && f.err == nil {
		f.left--
		f.skip(0)
	}
	if len(f.b) > 0 {
		f.fail(ErrCondDecodeError, "bytes behind the last field")
	}
	r.adopt(&f.reader)
}

// has goes to the next field and tells whether it is there and not null.
func (f *fields) has(field string) bool {
	f.field = field
	if f.left == 0 || f.err != nil {
		return false
	}
	f.left--
	if f.code() == fcNull {
		f.b = f.b[1:]
		return false
	}
	return f.err == nil
}

// must is has for a mandatory field.
func (f *fields) must(field string) bool {
	if f.has(field) {
		return true
	}
	f.invalid("mandatory field is missing")
	return false
}

func (f *fields) optBool(field string) Optional[bool] {
	if !f.has(field) {
		return Optional[bool]{}
	}
	return Some(f.bool())
}

func (f *fields) flag(field string) bool { return f.has(field) && f.bool() }

func (f *fields) mustUint(field string) uint32 {
	if !f.must(field) {
		return 0
	}
	return f.uint()
}

func (f *fields) uintOr(field string, def uint32) uint32 {
	if !f.has(field) {
		return def
	}
	return f.uint()
}

func (f *fields) optUint(field string) Optional[uint32] {
	if !f.has(field) {
		return Optional[uint32]{}
	}
	return Some(f.uint())
}

func (f *fields) ulongOr(field string, def uint64) uint64 {
	if !f.has(field) {
		return def
	}
	return f.ulong()
}

func (f *fields) stringOr(field string) string {
	if !f.has(field) {
		return ""
	}
	return f.string()
}

func (f *fields) symbolOr(field string, def Symbol) Symbol {
	if !f.has(field) {
		return def
	}
	return f.symbol()
}

func (f *fields) optTimestamp(field string) Optional[int64] {
	if !f.has(field) {
		return Optional[int64]{}
	}
	return Some(f.timestamp())
}

// bytes is a copy of a binary field; nil if absent.
func (f *fields) bytes(field string) []byte {
	if !f.has(field) {
		return nil
	}
	return append([]byte{}, f.binary()...)
}

// mustBytes is a copy of a mandatory binary field.
func (f *fields) mustBytes(field string) []byte {
	if !f.must(field) {
		return nil
	}
	return append([]byte{}, f.binary()...)
}

// symbols is a field of multiple symbols: one symbol or an array (1.3). No value and an empty array are the same. A list of
// symbols is taken too: that is what Proton's Python API sends for the capabilities of a connection.
func (f *fields) symbols(field string) []Symbol {
	if !f.has(field) {
		return nil
	}
	var items []any
	switch f.code() {
	case fcArray8, fcArray32:
		array, _ := f.value(0).(Array)
		items = array.Items
	case fcList0, fcList8, fcList32:
		items, _ = f.value(0).([]any)
	default:
		if s := f.symbol(); f.err == nil {
			return []Symbol{s}
		}
	}
	if len(items) == 0 {
		return nil
	}
	symbols := make([]Symbol, len(items))
	for i, v := range items {
		s, ok := v.(Symbol)
		if !ok {
			f.invalid("expected an array of symbols")
			return nil
		}
		symbols[i] = s
	}
	return symbols
}

// symbolMap is a field of type fields (2.8.13); nil if absent or empty. Keys may be strings, as some clients send them.
func (f *fields) symbolMap(field string) map[Symbol]any {
	if !f.has(field) {
		return nil
	}
	return f.mapOfSymbols()
}

func (r *reader) mapOfSymbols() map[Symbol]any {
	entries := r.mapOf()
	n := entries.left / 2
	if n == 0 {
		r.adopt(&entries.reader)
		return nil
	}
	m := make(map[Symbol]any, room(n))
	for range n {
		k := entries.key()
		v := entries.value(1)
		if entries.err != nil {
			break
		}
		if _, twice := m[k]; twice {
			entries.fail(ErrCondDecodeError, "map with a key twice")
			break
		}
		m[k] = v
	}
	entries.left = 0
	entries.done(r)
	return m
}

// mapOf begins a map whose keys and values are read in turn.
func (r *reader) mapOf() fields {
	items, n := r.mapItems()
	return fields{reader: reader{b: items, err: r.err, typ: r.typ, field: r.field, weightless: r.weightless}, left: n}
}

// key reads a key of a fields map.
func (r *reader) key() Symbol {
	if c := r.code(); c == fcString8 || c == fcString32 {
		return Symbol(r.checkSymbol(r.text()))
	}
	return r.symbol()
}
