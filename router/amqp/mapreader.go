package amqp

// MapReader walks over an encoded map without decoding it, and without allocating:
//
//	for r.Next() {
//		use r.Key(), r.Value()
//	}
//	err := r.Err()
//
// Keys that come twice are not noticed.
type MapReader struct {
	entries    fields
	key, value Raw
}

// Next goes to the next entry. It answers false at the end and after an error.
func (m *MapReader) Next() bool {
	e := &m.entries
	if e.left == 0 {
		if len(e.b) > 0 {
			e.fail(ErrCondDecodeError, "bytes behind the last item")
		}
		return false
	}
	e.left -= 2
	m.key = e.raw()
	m.value = e.raw()
	if e.err != nil {
		e.left = 0
	}
	return e.err == nil
}

// Key is the key of the entry, a slice of the payload.
func (m *MapReader) Key() Raw { return m.key }

// Value is the value of the entry, a slice of the payload.
func (m *MapReader) Value() Raw { return m.value }

// Err is what ended the walk too early.
func (m *MapReader) Err() error {
	if m.entries.err != nil {
		return m.entries.err
	}
	return nil
}

// find goes to the first entry whose key is the given string or symbol.
func (m *MapReader) find(key string) (Raw, error) {
	for m.Next() {
		if k, ok := m.key.Text(); ok && string(k) == key {
			return m.value, nil
		}
	}
	return nil, m.Err()
}
