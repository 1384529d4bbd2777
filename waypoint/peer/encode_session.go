package peer

func (*Reset) Kind() Kind     { return KindReset }
func (*Ping) Kind() Kind      { return KindPing }
func (*Pong) Kind() Kind      { return KindPong }
func (*Hello) Kind() Kind     { return KindHello }
func (*Welcome) Kind() Kind   { return KindWelcome }
func (*NotLeader) Kind() Kind { return KindNotLeader }
func (*Renew) Kind() Kind     { return KindRenew }
func (*Lease) Kind() Kind     { return KindLease }
func (*Notice) Kind() Kind    { return KindNotice }
func (*request) Kind() Kind   { return KindRequest }
func (*response) Kind() Kind  { return KindResponse }

func (m *Reset) appendTo(b []byte) []byte { return appendString(b, m.Reason) }
func (m *Reset) decode(r *reader)         { m.Reason = r.string() }

func (m *Ping) appendTo(b []byte) []byte { return b }
func (m *Ping) decode(r *reader)         {}

func (m *Pong) appendTo(b []byte) []byte { return b }
func (m *Pong) decode(r *reader)         {}

func (m *Hello) appendTo(b []byte) []byte {
	b = appendString(b, m.Router)
	b = appendUint(b, m.Boot)
	b = appendUint(b, m.Lane)
	return appendUint(b, m.Term)
}

func (m *Hello) decode(r *reader) {
	m.Router = r.string()
	m.Boot = r.uint()
	m.Lane = r.uint()
	m.Term = r.uint()
}

func (m *Welcome) appendTo(b []byte) []byte {
	b = appendUint(b, m.Term)
	b = appendUint(b, m.Lane)
	b = appendUint(b, m.Last)
	b = appendList(b, m.Refused, func(b []byte, v *RefusedPublish) []byte {
		return v.Refusal.appendTo(appendUint(b, v.N))
	})
	return m.Pressure.appendTo(b)
}

func (m *Welcome) decode(r *reader) {
	m.Term = r.uint()
	m.Lane = r.uint()
	m.Last = r.uint()
	m.Refused = readList(r, 1+refusalMin, func(v *RefusedPublish) {
		v.N = r.uint()
		v.Refusal.decode(r)
	})
	m.Pressure.decode(r)
}

func (m *NotLeader) appendTo(b []byte) []byte { return appendString(b, m.Leader) }
func (m *NotLeader) decode(r *reader)         { m.Leader = r.string() }

func (m *Renew) appendTo(b []byte) []byte {
	return appendUint(appendUint(b, m.ID), m.Confirmed)
}

func (m *Renew) decode(r *reader) {
	m.ID = r.uint()
	m.Confirmed = r.uint()
}

func (m *Lease) appendTo(b []byte) []byte {
	b = appendUint(b, m.ID)
	b = appendUint(b, uint64(m.Millis))
	b = appendUint(b, m.Epoch)
	b = appendBool(b, m.Full)
	b = appendUint(b, m.Since)
	b = appendList(b, m.Add, appendStringItem)
	b = appendList(b, m.Del, appendStringItem)
	b = appendBool(b, m.More)
	b = appendBytes(b, m.Policy)
	return appendList(b, m.Slots, func(b []byte, v *uint32) []byte { return appendUint(b, uint64(*v)) })
}

func (m *Lease) decode(r *reader) {
	m.ID = r.uint()
	m.Millis = r.uint32()
	m.Epoch = r.uint()
	m.Full = r.bool()
	m.Since = r.uint()
	m.Add = readList(r, 1, func(v *string) { *v = r.string() })
	m.Del = readList(r, 1, func(v *string) { *v = r.string() })
	m.More = r.bool()
	m.Policy = r.bytes()
	m.Slots = readList(r, 1, func(v *uint32) { *v = r.uint32() })
}

func (m *Notice) appendTo(b []byte) []byte {
	return appendString(appendString(appendLink(b, m.Sub, m.Gen), m.Condition), m.Text)
}

func (m *Notice) decode(r *reader) {
	m.Sub, m.Gen = r.uint(), r.uint()
	m.Condition = r.string()
	m.Text = r.string()
}

func appendStringItem(b []byte, s *string) []byte { return appendString(b, *s) }

// request and response travel alone in a body, outside of sessions.
type request struct {
	Op   string
	Body []byte
}

func (m *request) appendTo(b []byte) []byte { return appendBytes(appendString(b, m.Op), m.Body) }

func (m *request) decode(r *reader) {
	m.Op = r.string()
	m.Body = r.bytes()
}

type response struct {
	Code responseCode
	Body []byte // of codeOK the answer, of codeNotLeader the leader, of codeRefused an Error as JSON, of codeUnavailable a text
}

type responseCode uint8

const (
	codeOK          responseCode = 1
	codeNotLeader   responseCode = 2
	codeRefused     responseCode = 3
	codeUnavailable responseCode = 4
)

func (m *response) appendTo(b []byte) []byte { return appendBytes(append(b, byte(m.Code)), m.Body) }

func (m *response) decode(r *reader) {
	m.Code = responseCode(r.byte())
	m.Body = r.bytes()
}
