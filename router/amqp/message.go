package amqp

// Message is a whole message, decoded: for tools, tests and management. In transit, messages stay bytes (see [Sections]).
//
// The body is Data if that is not nil, else Sequences if that is not nil, else the amqp-value Value.
type Message struct {
	Header                *Header // nil: no section
	DeliveryAnnotations   Map     // nil: no section; keys are Symbol or uint64
	MessageAnnotations    Map     // nil: no section; keys are Symbol or uint64
	Properties            *Properties
	ApplicationProperties Map // nil: no section; keys are string
	Data                  [][]byte
	Sequences             [][]any
	Value                 any
	Footer                Map // nil: no section; keys are Symbol or uint64
}

// Append appends the encoded message. Like AppendValue it panics for Go values without AMQP counterpart.
func (m *Message) Append(b []byte) []byte {
	if m.Header != nil {
		b = m.Header.Append(b)
	}
	b = appendMapSection(b, CodeDeliveryAnnotations, m.DeliveryAnnotations)
	b = appendMapSection(b, CodeMessageAnnotations, m.MessageAnnotations)
	if m.Properties != nil {
		b = m.Properties.Append(b)
	}
	b = appendMapSection(b, CodeApplicationProperties, m.ApplicationProperties)
	b = m.appendBody(b)
	return appendMapSection(b, CodeFooter, m.Footer)
}

func (m *Message) appendBody(b []byte) []byte {
	switch {
	case m.Data != nil:
		if len(m.Data) == 0 { // a body has one section at least (3.2)
			return AppendBinary(appendDescriptor(b, CodeData), nil)
		}
		for _, d := range m.Data {
			b = AppendBinary(appendDescriptor(b, CodeData), d)
		}
	case m.Sequences != nil:
		if len(m.Sequences) == 0 {
			return AppendValue(appendDescriptor(b, CodeSequence), []any{})
		}
		for _, s := range m.Sequences {
			b = AppendValue(appendDescriptor(b, CodeSequence), s)
		}
	default:
		b = AppendValue(appendDescriptor(b, CodeValue), m.Value)
	}
	return b
}

func appendDescriptor(b []byte, code uint64) []byte {
	return append(b, fcDescribed, fcSmallUlong, byte(code))
}

func appendMapSection(b []byte, code uint64, m Map) []byte {
	if m == nil {
		return b
	}
	return AppendValue(appendDescriptor(b, code), m)
}

// DecodeMessage decodes a whole message. The result refers to nothing. A message without body, which 3.2 forbids and some
// send, is one with the value null.
func DecodeMessage(payload []byte) (*Message, error) {
	var s Sections
	if err := s.Scan(payload); err != nil {
		return nil, err
	}
	m := new(Message)
	if err := m.decodeHead(&s); err != nil {
		return nil, err
	}
	r := reader{typ: "message"}
	m.DeliveryAnnotations = r.mapSection(&s, SectionDeliveryAnnotations)
	m.MessageAnnotations = r.mapSection(&s, SectionMessageAnnotations)
	m.ApplicationProperties = r.mapSection(&s, SectionApplicationProperties)
	m.Footer = r.mapSection(&s, SectionFooter)
	m.decodeBody(&r, &s)
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

func (m *Message) decodeHead(s *Sections) error {
	if s.Has(SectionHeader) {
		h, err := s.Header()
		if err != nil {
			return err
		}
		m.Header = &h
	}
	if s.Has(SectionProperties) {
		p, err := s.Properties()
		if err != nil {
			return err
		}
		m.Properties = &p
	}
	return nil
}

// mapSection decodes a section that Scan has found to be a map.
func (r *reader) mapSection(s *Sections, x Section) Map {
	if r.err != nil || !s.Has(x) {
		return nil
	}
	r.b, r.typ = s.Bytes(x), x.String()
	r.descriptor()
	m, _ := r.value(0).(Map)
	return m
}

func (m *Message) decodeBody(r *reader, s *Sections) {
	r.typ = "body"
	for section := range s.Body {
		r.b = section
		v := r.value(0)
		if r.err != nil {
			return
		}
		switch s.BodyKind() {
		case BodyData:
			d, _ := v.([]byte)
			m.Data = append(m.Data, d)
		case BodySequence:
			l, _ := v.([]any)
			m.Sequences = append(m.Sequences, l)
		default:
			m.Value = v
		}
	}
}
