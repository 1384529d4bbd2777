package peer

func (*Attach) Kind() Kind    { return KindAttach }
func (*Attached) Kind() Kind  { return KindAttached }
func (*Credit) Kind() Kind    { return KindCredit }
func (*Drained) Kind() Kind   { return KindDrained }
func (*Deliver) Kind() Kind   { return KindDeliver }
func (*Outcome) Kind() Kind   { return KindOutcome }
func (*Committed) Kind() Kind { return KindCommitted }
func (*Leave) Kind() Kind     { return KindLeave }
func (*Left) Kind() Kind      { return KindLeft }
func (*State) Kind() Kind     { return KindState }
func (*Ended) Kind() Kind     { return KindEnded }
func (*Window) Kind() Kind    { return KindWindow }

func appendLink(b []byte, sub, gen uint64) []byte { return appendUint(appendUint(b, sub), gen) }

func (m *Attach) appendTo(b []byte) []byte {
	b = appendLink(b, m.Sub, m.Gen)
	b = appendString(b, m.Name)
	b = appendUint(b, m.Credit)
	b = appendBool(b, m.Drain)
	return appendList(b, m.Held, func(b []byte, v *Held) []byte {
		b = appendUint(b, v.Seq)
		b = appendUint(b, uint64(v.Count))
		return appendUint(b, v.GapVersion)
	})
}

func (m *Attach) decode(r *reader) {
	m.Sub, m.Gen = r.uint(), r.uint()
	m.Name = r.string()
	m.Credit = r.uint()
	m.Drain = r.bool()
	m.Held = readList(r, 3, func(v *Held) {
		v.Seq = r.uint()
		v.Count = r.uint32()
		v.GapVersion = r.uint()
	})
}

func (m *Attached) appendTo(b []byte) []byte { return m.State.appendTo(appendLink(b, m.Sub, m.Gen)) }

func (m *Attached) decode(r *reader) {
	m.Sub, m.Gen = r.uint(), r.uint()
	m.State.decode(r)
}

func (v *SubState) appendTo(b []byte) []byte {
	b = appendUint(b, v.Messages)
	b = appendUint(b, v.Bytes)
	b = appendUint(b, v.OldestMS)
	b = appendUint(b, v.GapVersion)
	b = appendUint(b, v.GapMessages)
	b = appendUint(b, v.GapTotal)
	return v.Limits.appendTo(b)
}

func (v *SubState) decode(r *reader) {
	v.Messages = r.uint()
	v.Bytes = r.uint()
	v.OldestMS = r.uint()
	v.GapVersion = r.uint()
	v.GapMessages = r.uint()
	v.GapTotal = r.uint()
	v.Limits.decode(r)
}

func (m *State) appendTo(b []byte) []byte { return m.State.appendTo(appendLink(b, m.Sub, m.Gen)) }

func (m *State) decode(r *reader) {
	m.Sub, m.Gen = r.uint(), r.uint()
	m.State.decode(r)
}

func (m *Credit) appendTo(b []byte) []byte {
	return appendBool(appendUint(appendLink(b, m.Sub, m.Gen), m.Limit), m.Drain)
}

func (m *Credit) decode(r *reader) {
	m.Sub, m.Gen = r.uint(), r.uint()
	m.Limit = r.uint()
	m.Drain = r.bool()
}

func (m *Drained) appendTo(b []byte) []byte { return appendUint(appendLink(b, m.Sub, m.Gen), m.Limit) }

func (m *Drained) decode(r *reader) {
	m.Sub, m.Gen = r.uint(), r.uint()
	m.Limit = r.uint()
}

func (m *Deliver) appendTo(b []byte) []byte {
	b = appendLink(b, m.Sub, m.Gen)
	b = appendUint(b, m.Seq)
	b = appendUint(b, uint64(m.Count))
	b = appendBool(b, m.Redelivered)
	b = appendUint(b, uint64(m.Time))
	b = appendBool(b, m.Gap != nil)
	if m.Gap != nil {
		b = m.Gap.appendTo(b)
	}
	b = appendString(b, m.Address)
	return appendBytes(b, m.Payload)
}

func (m *Deliver) decode(r *reader) {
	m.Sub, m.Gen = r.uint(), r.uint()
	m.Seq = r.uint()
	m.Count = r.uint32()
	m.Redelivered = r.bool()
	m.Time = int64(r.uint())
	if r.bool() {
		m.Gap = new(Gap)
		m.Gap.decode(r)
	}
	m.Address = r.string()
	m.Payload = r.bytes()
}

func (g *Gap) appendTo(b []byte) []byte {
	b = appendUint(b, g.Version)
	b = appendUint(b, g.Messages)
	b = appendList(b, g.Causes, func(b []byte, v *GapCause) []byte {
		return appendUint(append(b, byte(v.Cause)), v.Messages)
	})
	return appendList(b, g.Ranges, func(b []byte, v *GapRange) []byte {
		b = appendUint(b, v.From)
		b = appendUint(b, v.Through)
		b = appendUint(b, v.Messages)
		return append(b, byte(v.Cause))
	})
}

func (g *Gap) decode(r *reader) {
	g.Version = r.uint()
	g.Messages = r.uint()
	g.Causes = readList(r, 2, func(v *GapCause) {
		v.Cause = Cause(r.byte())
		v.Messages = r.uint()
	})
	g.Ranges = readList(r, 4, func(v *GapRange) {
		v.From = r.uint()
		v.Through = r.uint()
		v.Messages = r.uint()
		v.Cause = Cause(r.byte())
	})
}

func (m *Outcome) appendTo(b []byte) []byte {
	b = appendLink(b, m.Sub, m.Gen)
	return appendList(b, m.Items, func(b []byte, v *OutcomeItem) []byte {
		b = appendUint(b, v.Seq)
		b = appendUint(b, uint64(v.Count))
		b = appendUint(b, v.GapVersion)
		b = append(b, byte(v.State), v.Flags)
		return appendBytes(b, v.Extra)
	})
}

func (m *Outcome) decode(r *reader) {
	m.Sub, m.Gen = r.uint(), r.uint()
	m.Items = readList(r, 6, func(v *OutcomeItem) {
		v.Seq = r.uint()
		v.Count = r.uint32()
		v.GapVersion = r.uint()
		v.State = OutcomeState(r.byte())
		v.Flags = r.byte()
		v.Extra = r.bytes()
	})
}

func (m *Committed) appendTo(b []byte) []byte {
	b = appendLink(b, m.Sub, m.Gen)
	return appendList(b, m.Items, func(b []byte, v *Settled) []byte {
		return appendUint(appendUint(b, v.Seq), uint64(v.Count))
	})
}

func (m *Committed) decode(r *reader) {
	m.Sub, m.Gen = r.uint(), r.uint()
	m.Items = readList(r, 2, func(v *Settled) {
		v.Seq = r.uint()
		v.Count = r.uint32()
	})
}

func (m *Leave) appendTo(b []byte) []byte { return appendLink(b, m.Sub, m.Gen) }
func (m *Leave) decode(r *reader)         { m.Sub, m.Gen = r.uint(), r.uint() }

func (m *Left) appendTo(b []byte) []byte { return appendLink(b, m.Sub, m.Gen) }
func (m *Left) decode(r *reader)         { m.Sub, m.Gen = r.uint(), r.uint() }

func (m *Ended) appendTo(b []byte) []byte {
	return appendString(appendString(appendLink(b, m.Sub, m.Gen), m.Condition), m.Text)
}

func (m *Ended) decode(r *reader) {
	m.Sub, m.Gen = r.uint(), r.uint()
	m.Condition = r.string()
	m.Text = r.string()
}

func (m *Window) appendTo(b []byte) []byte { return appendUint(b, m.Bytes) }
func (m *Window) decode(r *reader)         { m.Bytes = r.uint() }
