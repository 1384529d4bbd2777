package peer

func (*Publish) Kind() Kind     { return KindPublish }
func (*Answers) Kind() Kind     { return KindAnswers }
func (*AckRefusals) Kind() Kind { return KindAckRefusals }
func (*Topics) Kind() Kind      { return KindTopics }
func (*Forgotten) Kind() Kind   { return KindForgotten }

func (m *Publish) appendTo(b []byte) []byte {
	return appendList(b, m.Items, func(b []byte, v *PublishItem) []byte {
		b = appendUint(b, v.N)
		b = appendBool(b, v.Void)
		b = appendString(b, v.Address)
		return appendBytes(b, v.Payload)
	})
}

func (m *Publish) decode(r *reader) {
	m.Items = readList(r, 4, func(v *PublishItem) {
		v.N = r.uint()
		v.Void = r.bool()
		v.Address = r.string()
		v.Payload = r.bytes()
	})
}

func (m *Answers) appendTo(b []byte) []byte {
	b = appendUint(b, m.Through)
	return appendList(b, m.Except, func(b []byte, v *Exception) []byte {
		b = appendUint(b, v.N)
		b = appendBool(b, v.Refusal != nil)
		if v.Refusal != nil {
			b = v.Refusal.appendTo(b)
		}
		return b
	})
}

func (m *Answers) decode(r *reader) {
	m.Through = r.uint()
	m.Except = readList(r, 2, func(v *Exception) {
		v.N = r.uint()
		if r.bool() {
			v.Refusal = new(Refusal)
			v.Refusal.decode(r)
		}
	})
}

// refusalMin is the least that a Refusal takes.
const refusalMin = 6

func (v *Refusal) appendTo(b []byte) []byte {
	b = appendString(b, v.Condition)
	b = appendString(b, v.Subscription)
	b = append(b, byte(v.Reason))
	b = appendUint(b, v.Limit)
	b = appendUint(b, v.Used)
	return appendUint(b, uint64(v.RetryAfterMS))
}

func (v *Refusal) decode(r *reader) {
	v.Condition = r.string()
	v.Subscription = r.string()
	v.Reason = Reason(r.byte())
	v.Limit = r.uint()
	v.Used = r.uint()
	v.RetryAfterMS = r.uint32()
}

func (m *AckRefusals) appendTo(b []byte) []byte { return appendUint(b, m.Through) }
func (m *AckRefusals) decode(r *reader)         { m.Through = r.uint() }

func (m *Topics) appendTo(b []byte) []byte {
	b = appendList(b, m.Refusing, func(b []byte, v *TopicRefusal) []byte {
		return v.Refusal.appendTo(appendString(b, v.Address))
	})
	b = appendList(b, m.Cleared, appendStringItem)
	return m.Pressure.appendTo(b)
}

func (m *Topics) decode(r *reader) {
	m.Refusing = readList(r, 1+refusalMin, func(v *TopicRefusal) {
		v.Address = r.string()
		v.Refusal.decode(r)
	})
	m.Cleared = readList(r, 1, func(v *string) { *v = r.string() })
	m.Pressure.decode(r)
}

func (m *Forgotten) appendTo(b []byte) []byte { return b }
func (m *Forgotten) decode(r *reader)         {}
