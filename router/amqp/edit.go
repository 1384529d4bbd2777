package amqp

// Edit says how the sections in front of the bare message change on their way through a node. Nothing else of a message
// may (3.2), and nothing else can with this type.
type Edit struct {
	// Header replaces the header section if it is not nil.
	Header *Header
	// DropDeliveryAnnotations takes away the delivery annotations that came, before the changes below are made: they are
	// consumed by the next node (3.2).
	DropDeliveryAnnotations bool
	DeliveryAnnotations     []Change
	MessageAnnotations      []Change
}

// Change sets or removes one annotation. Entries that are not named stay as they came, byte for byte and in their order.
type Change struct {
	Key   Symbol
	Value Raw // the encoded value; nil removes the entry
}

// Set is a Change to a value.
func Set(key Symbol, value any) Change { return Change{Key: key, Value: AppendValue(nil, value)} }

// Remove is a Change that takes an entry away.
func Remove(key Symbol) Change { return Change{Key: key} }

// AppendHead appends the new sections in front of the bare message: header, delivery annotations and message annotations, as
// the edit wants them. Behind them goes s.Tail(), untouched and in a slice of its own. Without changes the result is what came.
// With an error b is returned as it was. It does not allocate beyond growing b.
func (e *Edit) AppendHead(b []byte, s *Sections) ([]byte, error) {
	start := len(b)
	if e.Header != nil {
		b = e.Header.Append(b)
	} else {
		b = append(b, s.Bytes(SectionHeader)...)
	}
	b, err := appendChanged(b, s, SectionDeliveryAnnotations, e.DropDeliveryAnnotations, e.DeliveryAnnotations)
	if err == nil {
		b, err = appendChanged(b, s, SectionMessageAnnotations, false, e.MessageAnnotations)
	}
	if err != nil {
		return b[:start], err
	}
	return b, nil
}

// appendChanged appends an annotations section with changes. A section that is left without entries is left out.
func appendChanged(b []byte, s *Sections, x Section, drop bool, changes []Change) ([]byte, error) {
	if len(changes) == 0 {
		if drop {
			return b, nil
		}
		return append(b, s.Bytes(x)...), nil
	}
	var old MapReader
	if !drop {
		old = s.Map(x)
	}
	start := len(b)
	code := CodeDeliveryAnnotations
	if x == SectionMessageAnnotations {
		code = CodeMessageAnnotations
	}
	b, at := beginCompound(append(b, fcDescribed, fcSmallUlong, byte(code)), fcMap8)

	var few [32]bool
	done := few[:]
	if len(changes) > len(few) {
		done = make([]bool, len(changes))
	}
	entries := 0
	for old.Next() {
		i, changed := changeOf(changes, old.Key())
		switch {
		case !changed:
			b = append(append(b, old.Key()...), old.Value()...)
			entries++
		case done[i]:
			return b, &DecodeError{Condition: ErrCondDecodeError, Type: x.String(), Reason: "map with a key twice"}
		case changes[i].Value != nil:
			b = append(append(b, old.Key()...), changes[i].Value...)
			entries++
			fallthrough
		default:
			done[i] = true
		}
	}
	if err := old.Err(); err != nil {
		return b, err
	}
	for i, c := range changes {
		if last, _ := lastChange(changes, string(c.Key)); last != i || done[i] || c.Value == nil {
			continue
		}
		b = append(AppendSymbol(b, c.Key), c.Value...)
		entries++
	}
	if entries == 0 {
		return b[:start], nil
	}
	return endCompound(b, at, 2*entries, fcMap32), nil
}

// changeOf finds the change of an encoded key.
func changeOf(changes []Change, key Raw) (int, bool) {
	k, ok := key.Text()
	if !ok {
		return 0, false
	}
	for i := len(changes) - 1; i >= 0; i-- {
		if string(changes[i].Key) == string(k) {
			return i, true
		}
	}
	return 0, false
}

// lastChange finds the change of a key that counts: the last of several.
func lastChange(changes []Change, key string) (int, bool) {
	for i := len(changes) - 1; i >= 0; i-- {
		if string(changes[i].Key) == key {
			return i, true
		}
	}
	return 0, false
}
