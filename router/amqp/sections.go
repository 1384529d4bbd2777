package amqp

// Section is a kind of message section, in the order in which they appear (3.2).
type Section uint8

const (
	SectionHeader Section = iota
	SectionDeliveryAnnotations
	SectionMessageAnnotations
	SectionProperties
	SectionApplicationProperties
	SectionBody // all body sections together
	SectionFooter
	numSections
)

// BodyKind says of what the body consists (3.2).
type BodyKind uint8

const (
	BodyNone     BodyKind = iota // no body section: invalid, but sent by some
	BodyData                     // one or more data sections
	BodySequence                 // one or more amqp-sequence sections
	BodyValue                    // one amqp-value section
)

// Span is a range of bytes in a payload; empty (Start == End) if the section is absent.
type Span struct {
	Start, End int
}

// Sections knows where the sections of one message lie in its payload. It holds the payload and hands out slices of it.
// It is reused by scanning again; scanning never allocates.
//
// The zero value has no sections.
type Sections struct {
	payload []byte
	spans   [numSections]Span
	body    BodyKind
}

var sectionNames = [numSections]string{
	"header", "delivery-annotations", "message-annotations", "properties", "application-properties", "body", "footer",
}

// String is the name of the section in the specification; "body" for all kinds of body.
func (x Section) String() string {
	if x >= numSections {
		return "unknown"
	}
	return sectionNames[x]
}

// Scan finds the sections of a whole message and checks their kinds and order. What is inside the sections is not looked
// at. An empty payload is a message without sections. With an error there are no sections.
func (s *Sections) Scan(payload []byte) error {
	_, err := s.scan(payload, true)
	return err
}

// ScanHead does the same with the beginning of a message, of which more is to come. It answers true when all
// sections in front of the body are there, and leaves body and footer unscanned; false when more bytes are needed to tell. (Of a
// message without a body it never knows that the head is complete: Scan does, at its end.)
func (s *Sections) ScanHead(payload []byte) (bool, error) { return s.scan(payload, false) }

func (s *Sections) scan(payload []byte, whole bool) (complete bool, err error) {
	*s = Sections{payload: payload}
	next := SectionHeader // the first kind of section that may still come
	r := reader{b: payload}
	for at := 0; at < len(payload); {
		r.typ = "message"
		x, body := r.sectionKind()
		if x < next && !s.repeats(body) {
			r.fail(ErrCondDecodeError, "section comes twice or too late")
		}
		if r.err == nil && !whole && x >= SectionBody {
			return true, nil
		}
		r.sectionContent(x, body)
		if r.err != nil {
			*s = Sections{}
			if r.short && !whole {
				return false, nil
			}
			return false, r.err
		}
		end := len(payload) - len(r.b)
		s.add(x, body, at, end)
		next, at = x+1, end
	}
	return whole, nil
}

// repeats tells whether a further body section of this kind may come now.
func (s *Sections) repeats(body BodyKind) bool {
	return (body == BodyData || body == BodySequence) && s.body == body && !s.Has(SectionFooter)
}

func (s *Sections) add(x Section, body BodyKind, start, end int) {
	if body != BodyNone && s.body != BodyNone {
		start = s.spans[x].Start
	}
	s.body = max(s.body, body)
	s.spans[x] = Span{Start: start, End: end}
}

// sectionKind reads the descriptor of a section.
func (r *reader) sectionKind() (Section, BodyKind) {
	code := r.descriptor()
	if code < CodeHeader || code > CodeFooter {
		r.fail(ErrCondDecodeError, "no section of a message")
		return numSections, BodyNone
	}
	x, body := SectionBody, BodyNone
	switch code {
	case CodeData:
		body = BodyData
	case CodeSequence:
		body = BodySequence
	case CodeValue:
		body = BodyValue
	case CodeFooter:
		x = SectionFooter
	default:
		x = SectionHeader + Section(code-CodeHeader)
	}
	r.typ = x.String()
	return x, body
}

// sectionContent skips the value of a section, which must be of the section's type.
func (r *reader) sectionContent(x Section, body BodyKind) {
	if r.err != nil {
		return
	}
	ok, want := true, ""
	c := r.code()
	switch {
	case body == BodyValue:
	case body == BodyData:
		ok, want = c == fcBinary8 || c == fcBinary32, "binary"
	case body == BodySequence, x == SectionHeader, x == SectionProperties:
		ok, want = c == fcList0 || c == fcList8 || c == fcList32, "list"
	default:
		ok, want = c == fcMap8 || c == fcMap32, "map"
	}
	if !ok {
		r.wrongType(want)
		return
	}
	r.skip(0)
}

// Span is the place of a section in the payload, with its descriptor.
func (s *Sections) Span(x Section) Span { return s.spans[x] }

// Bytes is a section with its descriptor: a slice of the payload, empty if the section is absent.
func (s *Sections) Bytes(x Section) []byte {
	p := s.spans[x]
	return s.payload[p.Start:p.End:p.End]
}

// Has tells whether a section is there.
func (s *Sections) Has(x Section) bool { return s.spans[x].End > 0 }

// BodyKind says of what the body consists.
func (s *Sections) BodyKind() BodyKind { return s.body }

// Payload is what was scanned.
func (s *Sections) Payload() []byte { return s.payload }

// Tail is everything behind the message annotations, in a slice of the payload: what an Edit never touches.
func (s *Sections) Tail() []byte {
	return s.payload[max(s.spans[SectionHeader].End, s.spans[SectionDeliveryAnnotations].End, s.spans[SectionMessageAnnotations].End):]
}
