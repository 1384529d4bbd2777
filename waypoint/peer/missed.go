package peer

// Missed is what routers that were cut off may have let past a subscription that was made meanwhile: its gap with cause
// `isolated`. No shard ever saw these messages, so meta keeps the count, beside those of the shards.
type Missed struct {
	AtMost  uint64 `json:"at_most,omitempty"` // messages, by what the routers have reported
	Unknown uint64 `json:"unknown,omitempty"` // routers that have not
}

// Beyond says whether m tells anything that is not in heard. A router that has reported since is not news of a loss.
func (m Missed) Beyond(heard Missed) bool {
	return m.AtMost > heard.AtMost || m.Unknown > heard.Unknown
}

// Later is the later one of two states of a subscription, in whatever order they came: reports only add, and whoever has
// reported is not unknown any more.
func (m Missed) Later(o Missed) Missed {
	if o.AtMost > m.AtMost || o.AtMost == m.AtMost && o.Unknown < m.Unknown {
		return o
	}
	return m
}

// Join is what somebody knows who has heard both.
func (m Missed) Join(o Missed) Missed {
	return Missed{AtMost: max(m.AtMost, o.AtMost), Unknown: max(m.Unknown, o.Unknown)}
}

// MissedNotice tells what a subscription has missed, when that has changed, to the router that has its link, and again when
// that router opens a session (meta's leader to agent).
type MissedNotice struct {
	Sub    uint64
	Missed Missed
	Heard  Missed // by the subscriber, of that
}

func (*MissedNotice) Kind() Kind { return KindMissed }

func (m *MissedNotice) appendTo(b []byte) []byte {
	b = appendUint(b, m.Sub)
	return m.Heard.appendTo(m.Missed.appendTo(b))
}

func (m *MissedNotice) decode(r *reader) {
	m.Sub = r.uint()
	m.Missed.decode(r)
	m.Heard.decode(r)
}

func (m Missed) appendTo(b []byte) []byte { return appendUint(appendUint(b, m.AtMost), m.Unknown) }

func (m *Missed) decode(r *reader) { m.AtMost, m.Unknown = r.uint(), r.uint() }
