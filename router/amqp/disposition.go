package amqp

// Disposition tells the peer of changed delivery states (2.7.6). It decodes without allocation unless its state carries
// an error or annotations.
type Disposition struct {
	Role      Role
	First     uint32
	Last      uint32 // First if absent
	Settled   bool
	State     DeliveryState // nil if absent
	Batchable bool
}

// Descriptor is CodeDisposition.
func (d *Disposition) Descriptor() uint64 { return CodeDisposition }

// Append appends the encoded performative.
func (d *Disposition) Append(b []byte) []byte {
	w := begin(b, CodeDisposition)
	w.bool(bool(d.Role))
	w.uint(d.First)
	w.uintOr(d.Last, d.First)
	w.flag(d.Settled)
	w.state(d.State)
	w.flag(d.Batchable)
	return w.end()
}

// Decode reads the performative at the beginning of body.
func (d *Disposition) Decode(body []byte) (payload []byte, err error) {
	r := reader{b: body}
	f := r.composite("disposition", CodeDisposition)
	d.Role = RoleSender
	if f.must("role") {
		d.Role = Role(f.bool())
	}
	d.First = f.mustUint("first")
	d.Last = f.uintOr("last", d.First)
	d.Settled = f.flag("settled")
	d.State = f.state("state")
	d.Batchable = f.flag("batchable")
	f.done(&r)
	return r.result()
}
