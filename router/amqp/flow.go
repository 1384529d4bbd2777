package amqp

// Flow updates session and link state (2.7.4). It decodes without allocation unless it has properties.
type Flow struct {
	NextIncomingID Optional[uint32] // absent until the peer's begin was seen
	IncomingWindow uint32
	NextOutgoingID uint32
	OutgoingWindow uint32
	Handle         Optional[uint32] // absent: session state only
	DeliveryCount  Optional[uint32]
	LinkCredit     Optional[uint32]
	Available      Optional[uint32]
	Drain          bool
	Echo           bool
	Properties     map[Symbol]any
}

// Descriptor is CodeFlow.
func (x *Flow) Descriptor() uint64 { return CodeFlow }

// Append appends the encoded performative.
func (x *Flow) Append(b []byte) []byte {
	w := begin(b, CodeFlow)
	w.optUint(x.NextIncomingID)
	w.uint(x.IncomingWindow)
	w.uint(x.NextOutgoingID)
	w.uint(x.OutgoingWindow)
	w.optUint(x.Handle)
	w.optUint(x.DeliveryCount)
	w.optUint(x.LinkCredit)
	w.optUint(x.Available)
	w.flag(x.Drain)
	w.flag(x.Echo)
	w.symbolMap(x.Properties)
	return w.end()
}

// Decode reads the performative at the beginning of body.
func (x *Flow) Decode(body []byte) (payload []byte, err error) {
	r := reader{b: body}
	f := r.composite("flow", CodeFlow)
	x.NextIncomingID = f.optUint("next-incoming-id")
	x.IncomingWindow = f.mustUint("incoming-window")
	x.NextOutgoingID = f.mustUint("next-outgoing-id")
	x.OutgoingWindow = f.mustUint("outgoing-window")
	x.Handle = f.optUint("handle")
	x.DeliveryCount = f.optUint("delivery-count")
	x.LinkCredit = f.optUint("link-credit")
	x.Available = f.optUint("available")
	x.Drain = f.flag("drain")
	x.Echo = f.flag("echo")
	x.Properties = f.symbolMap("properties")
	f.done(&r)
	return r.result()
}
