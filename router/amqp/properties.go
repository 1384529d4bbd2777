package amqp

// PropertyField is the position of a field in the properties section (3.2.4).
type PropertyField int

const (
	PropertyMessageID PropertyField = iota
	PropertyUserID
	PropertyTo
	PropertySubject
	PropertyReplyTo
	PropertyCorrelationID
	PropertyContentType
	PropertyContentEncoding
	PropertyAbsoluteExpiryTime
	PropertyCreationTime
	PropertyGroupID
	PropertyGroupSequence
	PropertyReplyToGroupID
	numProperties
)

// Properties is the properties section of a message (3.2.4), decoded as a whole. Absent text is ""; where the difference between
// absent and empty matters, ask [Sections.Property].
type Properties struct {
	MessageID          any // nil, uint64, UUID, []byte or string
	UserID             []byte
	To                 string
	Subject            string
	ReplyTo            string
	CorrelationID      any // nil, uint64, UUID, []byte or string
	ContentType        Symbol
	ContentEncoding    Symbol
	AbsoluteExpiryTime Optional[int64] // milliseconds since the Unix epoch
	CreationTime       Optional[int64] // milliseconds since the Unix epoch
	GroupID            string
	GroupSequence      Optional[uint32]
	ReplyToGroupID     string
}

var propertyNames = [numProperties]string{
	"message-id", "user-id", "to", "subject", "reply-to", "correlation-id", "content-type", "content-encoding",
	"absolute-expiry-time", "creation-time", "group-id", "group-sequence", "reply-to-group-id",
}

// String is the name of the field in the specification.
func (f PropertyField) String() string {
	if f < 0 || f >= numProperties {
		return "unknown"
	}
	return propertyNames[f]
}

// Append appends the section with its descriptor.
func (p *Properties) Append(b []byte) []byte {
	w := begin(b, CodeProperties)
	w.value(p.MessageID)
	w.binary(p.UserID)
	w.string(p.To)
	w.string(p.Subject)
	w.string(p.ReplyTo)
	w.value(p.CorrelationID)
	w.symbol(p.ContentType)
	w.symbol(p.ContentEncoding)
	w.optTimestamp(p.AbsoluteExpiryTime)
	w.optTimestamp(p.CreationTime)
	w.string(p.GroupID)
	w.optUint(p.GroupSequence)
	w.string(p.ReplyToGroupID)
	return w.end()
}

// decode reads a properties section.
func (p *Properties) decode(r *reader) {
	f := r.composite("properties", CodeProperties)
	p.MessageID = f.messageID("message-id")
	p.UserID = f.bytes("user-id")
	p.To = f.stringOr("to")
	p.Subject = f.stringOr("subject")
	p.ReplyTo = f.stringOr("reply-to")
	p.CorrelationID = f.messageID("correlation-id")
	p.ContentType = f.symbolOr("content-type", "")
	p.ContentEncoding = f.symbolOr("content-encoding", "")
	p.AbsoluteExpiryTime = f.optTimestamp("absolute-expiry-time")
	p.CreationTime = f.optTimestamp("creation-time")
	p.GroupID = f.stringOr("group-id")
	p.GroupSequence = f.optUint("group-sequence")
	p.ReplyToGroupID = f.stringOr("reply-to-group-id")
	f.done(r)
}

// messageID is one of the four types that provide message-id (3.2.11 to 3.2.14).
func (f *fields) messageID(field string) any {
	if !f.has(field) {
		return nil
	}
	start := f.code()
	switch v := f.value(0).(type) {
	case uint64, UUID, []byte, string:
		return v
	}
	f.invalid("expected ulong, uuid, binary or string, found " + typeName(start))
	return nil
}
