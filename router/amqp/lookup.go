package amqp

// Looking into the sections of a scanned message. Only what is asked for is decoded, each time anew.

// Header decodes the header section; the defaults if there is none. It does not allocate.
func (s *Sections) Header() (Header, error) {
	h := DefaultHeader()
	if !s.Has(SectionHeader) {
		return h, nil
	}
	r := reader{b: s.Bytes(SectionHeader)}
	h.decode(&r)
	if r.err != nil {
		return Header{}, r.err
	}
	return h, nil
}

// Properties decodes the whole properties section; the zero Properties if there is none. The result refers to nothing.
func (s *Sections) Properties() (Properties, error) {
	var p Properties
	if !s.Has(SectionProperties) {
		return p, nil
	}
	r := reader{b: s.Bytes(SectionProperties)}
	p.decode(&r)
	if r.err != nil {
		return Properties{}, r.err
	}
	return p, nil
}

// Property looks up one field of the properties, whatever its type; nil if it is absent or null. It does not allocate.
func (s *Sections) Property(field PropertyField) (Raw, error) {
	if !s.Has(SectionProperties) || field < 0 || field >= numProperties {
		return nil, nil
	}
	r := reader{b: s.Bytes(SectionProperties)}
	f := r.composite("properties", CodeProperties)
	for i := PropertyMessageID; i < field; i++ {
		if f.has(propertyNames[i]) {
			f.skip(0)
		}
	}
	var v Raw
	if f.has(propertyNames[field]) {
		v = f.raw()
	}
	if f.err != nil {
		return nil, f.err
	}
	return v, nil
}

// To is properties.to as a slice of the payload; nil if it is absent or null. It does not allocate.
func (s *Sections) To() ([]byte, error) {
	v, err := s.Property(PropertyTo)
	if v == nil || err != nil {
		return nil, err
	}
	r := reader{b: v, typ: "properties", field: "to"}
	to := r.text()
	if r.err != nil {
		return nil, r.err
	}
	return to, nil
}

// Map walks over one of the sections that are maps: delivery annotations, message annotations, application properties, footer.
// It has no entries if the section is absent.
func (s *Sections) Map(x Section) MapReader {
	switch x {
	case SectionDeliveryAnnotations, SectionMessageAnnotations, SectionApplicationProperties, SectionFooter:
	default:
		return MapReader{}
	}
	if !s.Has(x) {
		return MapReader{}
	}
	r := reader{b: s.Bytes(x), typ: x.String()}
	r.descriptor()
	return MapReader{entries: r.mapOf()}
}

// DeliveryAnnotation looks up one key without decoding the rest; nil if it is not there. It does not allocate.
func (s *Sections) DeliveryAnnotation(key Symbol) (Raw, error) {
	m := s.Map(SectionDeliveryAnnotations)
	return m.find(string(key))
}

// MessageAnnotation looks up one key without decoding the rest; nil if it is not there. It does not allocate.
func (s *Sections) MessageAnnotation(key Symbol) (Raw, error) {
	m := s.Map(SectionMessageAnnotations)
	return m.find(string(key))
}

// ApplicationProperty looks up one key without decoding the rest; nil if it is not there. It does not allocate.
func (s *Sections) ApplicationProperty(key string) (Raw, error) {
	m := s.Map(SectionApplicationProperties)
	return m.find(key)
}

// Body hands out the values of the body sections one after the other, each a slice of the payload: a binary of each data section, a
// list of each amqp-sequence section, the one value of an amqp-value section. It stops when yield answers false. It does
// not allocate.
func (s *Sections) Body(yield func(Raw) bool) {
	r := reader{b: s.Bytes(SectionBody)}
	for len(r.b) > 0 {
		r.descriptor()
		if v := r.raw(); v == nil || !yield(v) {
			return
		}
	}
}

// AppendData appends the contents of all data sections: the body of a message of BodyData.
func (s *Sections) AppendData(b []byte) []byte {
	if s.body != BodyData {
		return b
	}
	for v := range s.Body {
		d, _ := v.Binary()
		b = append(b, d...)
	}
	return b
}
