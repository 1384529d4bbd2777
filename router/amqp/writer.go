package amqp

// writer appends a composite field by field. Nulls are held back until a value follows, so that trailing ones are left out (1.3.1).
type writer struct {
	b     []byte
	at    int // where the fields begin
	count int
	nulls int // held back
}

// begin appends descriptor and list header of a composite of the specification.
func begin(b []byte, code uint64) writer {
	b, at := beginCompound(append(b, fcDescribed, fcSmallUlong, byte(code)), fcList8)
	return writer{b: b, at: at}
}

// end fills in the size and returns the whole slice.
func (w *writer) end() []byte { return endCompound(w.b, w.at, w.count, fcList32) }

func (w *writer) null() { w.nulls++ }

// field makes room for a value: the caller appends it to w.b next.
func (w *writer) field() {
	for ; w.nulls > 0; w.nulls-- {
		w.b = append(w.b, fcNull)
		w.count++
	}
	w.count++
}

func (w *writer) bool(v bool) {
	w.field()
	w.b = AppendBool(w.b, v)
}

// flag writes a boolean whose default is false.
func (w *writer) flag(v bool) {
	if !v {
		w.null()
		return
	}
	w.bool(true)
}

func (w *writer) optBool(v Optional[bool]) {
	if !v.Set {
		w.null()
		return
	}
	w.bool(v.Value)
}

func (w *writer) ubyte(v uint8) {
	w.field()
	w.b = AppendUbyte(w.b, v)
}

func (w *writer) ubyteOr(v, def uint8) {
	if v == def {
		w.null()
		return
	}
	w.ubyte(v)
}

func (w *writer) ushort(v uint16) {
	w.field()
	w.b = AppendUshort(w.b, v)
}

func (w *writer) uint(v uint32) {
	w.field()
	w.b = AppendUint(w.b, v)
}

func (w *writer) uintOr(v, def uint32) {
	if v == def {
		w.null()
		return
	}
	w.uint(v)
}

func (w *writer) optUint(v Optional[uint32]) {
	if !v.Set {
		w.null()
		return
	}
	w.uint(v.Value)
}

func (w *writer) ulong(v uint64) {
	w.field()
	w.b = AppendUlong(w.b, v)
}

func (w *writer) ulongOr(v, def uint64) {
	if v == def {
		w.null()
		return
	}
	w.ulong(v)
}

func (w *writer) optTimestamp(v Optional[int64]) {
	if !v.Set {
		w.null()
		return
	}
	w.field()
	w.b = AppendTimestamp(w.b, v.Value)
}

// binary writes nil as null.
func (w *writer) binary(v []byte) {
	if v == nil {
		w.null()
		return
	}
	w.mustBinary(v)
}

func (w *writer) mustBinary(v []byte) {
	w.field()
	w.b = AppendBinary(w.b, v)
}

// string writes "" as null.
func (w *writer) string(v string) {
	if v == "" {
		w.null()
		return
	}
	w.mustString(v)
}

func (w *writer) mustString(v string) {
	w.field()
	w.b = AppendString(w.b, v)
}

// symbol writes "" as null.
func (w *writer) symbol(v Symbol) {
	if v == "" {
		w.null()
		return
	}
	w.mustSymbol(v)
}

func (w *writer) mustSymbol(v Symbol) {
	w.field()
	w.b = AppendSymbol(w.b, v)
}

// symbols writes no symbols as null.
func (w *writer) symbols(v []Symbol) {
	if len(v) == 0 {
		w.null()
		return
	}
	w.field()
	w.b = appendSymbols(w.b, v)
}

// symbolMap writes an empty map as null.
func (w *writer) symbolMap(v map[Symbol]any) {
	if len(v) == 0 {
		w.null()
		return
	}
	w.field()
	w.b = appendSymbolMap(w.b, v)
}

// value writes nil as null.
func (w *writer) value(v any) {
	if v == nil {
		w.null()
		return
	}
	w.field()
	w.b = AppendValue(w.b, v)
}

func (w *writer) state(s DeliveryState) {
	if s == nil {
		w.null()
		return
	}
	w.field()
	w.b = s.appendState(w.b)
}

func (w *writer) error(e *Error) {
	if e == nil {
		w.null()
		return
	}
	w.field()
	w.b = e.append(w.b)
}
