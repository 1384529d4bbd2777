package amqp

// Header is the header section of a message (3.2.1).
type Header struct {
	Durable       bool
	Priority      uint8            // DefaultPriority if absent
	TTL           Optional[uint32] // milliseconds
	FirstAcquirer bool
	DeliveryCount uint32
}

// DefaultHeader is what a message without header section means.
func DefaultHeader() Header { return Header{Priority: DefaultPriority} }

// Append appends the section with its descriptor.
func (h *Header) Append(b []byte) []byte {
	w := begin(b, CodeHeader)
	w.flag(h.Durable)
	w.ubyteOr(h.Priority, DefaultPriority)
	w.optUint(h.TTL)
	w.flag(h.FirstAcquirer)
	w.uintOr(h.DeliveryCount, 0)
	return w.end()
}

// decode reads a header section.
func (h *Header) decode(r *reader) {
	f := r.composite("header", CodeHeader)
	h.Durable = f.flag("durable")
	h.Priority = DefaultPriority
	if f.has("priority") {
		h.Priority = f.ubyte()
	}
	h.TTL = f.optUint("ttl")
	h.FirstAcquirer = f.flag("first-acquirer")
	h.DeliveryCount = f.uintOr("delivery-count", 0)
	f.done(r)
}
