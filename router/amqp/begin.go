package amqp

// Begin begins a session on a channel (2.7.2).
type Begin struct {
	RemoteChannel       Optional[uint16] // set in an answer
	NextOutgoingID      uint32
	IncomingWindow      uint32
	OutgoingWindow      uint32
	HandleMax           uint32 // DefaultHandleMax if absent
	OfferedCapabilities []Symbol
	DesiredCapabilities []Symbol
	Properties          map[Symbol]any
}

// Descriptor is CodeBegin.
func (x *Begin) Descriptor() uint64 { return CodeBegin }

// Append appends the encoded performative.
func (x *Begin) Append(b []byte) []byte {
	w := begin(b, CodeBegin)
	if x.RemoteChannel.Set {
		w.ushort(x.RemoteChannel.Value)
	} else {
		w.null()
	}
	w.uint(x.NextOutgoingID)
	w.uint(x.IncomingWindow)
	w.uint(x.OutgoingWindow)
	w.uintOr(x.HandleMax, DefaultHandleMax)
	w.symbols(x.OfferedCapabilities)
	w.symbols(x.DesiredCapabilities)
	w.symbolMap(x.Properties)
	return w.end()
}

// Decode reads the performative at the beginning of body.
func (x *Begin) Decode(body []byte) (payload []byte, err error) {
	*x = Begin{}
	r := reader{b: body}
	f := r.composite("begin", CodeBegin)
	if f.has("remote-channel") {
		x.RemoteChannel = Some(f.ushort())
	}
	x.NextOutgoingID = f.mustUint("next-outgoing-id")
	x.IncomingWindow = f.mustUint("incoming-window")
	x.OutgoingWindow = f.mustUint("outgoing-window")
	x.HandleMax = f.uintOr("handle-max", DefaultHandleMax)
	x.OfferedCapabilities = f.symbols("offered-capabilities")
	x.DesiredCapabilities = f.symbols("desired-capabilities")
	x.Properties = f.symbolMap("properties")
	f.done(&r)
	return r.result()
}
