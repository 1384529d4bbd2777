package amqp

// Detach detaches a link endpoint from its session (2.7.7).
type Detach struct {
	Handle uint32
	Closed bool
	Error  *Error // nil if absent
}

// End ends a session (2.7.8).
type End struct {
	Error *Error // nil if absent
}

// Close closes a connection (2.7.9).
type Close struct {
	Error *Error // nil if absent
}

// Descriptor is CodeDetach.
func (d *Detach) Descriptor() uint64 { return CodeDetach }

// Append appends the encoded performative.
func (d *Detach) Append(b []byte) []byte {
	w := begin(b, CodeDetach)
	w.uint(d.Handle)
	w.flag(d.Closed)
	w.error(d.Error)
	return w.end()
}

// Decode reads the performative at the beginning of body.
func (d *Detach) Decode(body []byte) (payload []byte, err error) {
	r := reader{b: body}
	f := r.composite("detach", CodeDetach)
	d.Handle = f.mustUint("handle")
	d.Closed = f.flag("closed")
	d.Error = f.error("error")
	f.done(&r)
	return r.result()
}

// Descriptor is CodeEnd.
func (e *End) Descriptor() uint64 { return CodeEnd }

// Append appends the encoded performative.
func (e *End) Append(b []byte) []byte {
	w := begin(b, CodeEnd)
	w.error(e.Error)
	return w.end()
}

// Decode reads the performative at the beginning of body.
func (e *End) Decode(body []byte) (payload []byte, err error) {
	r := reader{b: body}
	f := r.composite("end", CodeEnd)
	e.Error = f.error("error")
	f.done(&r)
	return r.result()
}

// Descriptor is CodeClose.
func (c *Close) Descriptor() uint64 { return CodeClose }

// Append appends the encoded performative.
func (c *Close) Append(b []byte) []byte {
	w := begin(b, CodeClose)
	w.error(c.Error)
	return w.end()
}

// Decode reads the performative at the beginning of body.
func (c *Close) Decode(body []byte) (payload []byte, err error) {
	r := reader{b: body}
	f := r.composite("close", CodeClose)
	c.Error = f.error("error")
	f.done(&r)
	return r.result()
}
