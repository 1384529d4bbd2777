package amqp

// Open negotiates connection parameters (2.7.1).
type Open struct {
	ContainerID         string
	Hostname            string // "" if absent
	MaxFrameSize        uint32 // DefaultMaxFrameSize if absent; 0 is written as absent
	ChannelMax          uint16 // DefaultChannelMax if absent
	IdleTimeOut         uint32 // milliseconds; 0: none
	OutgoingLocales     []Symbol
	IncomingLocales     []Symbol
	OfferedCapabilities []Symbol
	DesiredCapabilities []Symbol
	Properties          map[Symbol]any
}

// Descriptor is CodeOpen.
func (o *Open) Descriptor() uint64 { return CodeOpen }

// Append appends the encoded performative.
func (o *Open) Append(b []byte) []byte {
	w := begin(b, CodeOpen)
	w.mustString(o.ContainerID)
	w.string(o.Hostname)
	if o.MaxFrameSize == 0 {
		w.null()
	} else {
		w.uintOr(o.MaxFrameSize, DefaultMaxFrameSize)
	}
	if o.ChannelMax == DefaultChannelMax {
		w.null()
	} else {
		w.ushort(o.ChannelMax)
	}
	w.uintOr(o.IdleTimeOut, 0)
	w.symbols(o.OutgoingLocales)
	w.symbols(o.IncomingLocales)
	w.symbols(o.OfferedCapabilities)
	w.symbols(o.DesiredCapabilities)
	w.symbolMap(o.Properties)
	return w.end()
}

// Decode reads the performative at the beginning of body.
func (o *Open) Decode(body []byte) (payload []byte, err error) {
	*o = Open{}
	r := reader{b: body}
	f := r.composite("open", CodeOpen)
	if f.must("container-id") {
		o.ContainerID = f.string()
	}
	o.Hostname = f.stringOr("hostname")
	o.MaxFrameSize = f.uintOr("max-frame-size", DefaultMaxFrameSize)
	o.ChannelMax = DefaultChannelMax
	if f.has("channel-max") {
		o.ChannelMax = f.ushort()
	}
	o.IdleTimeOut = f.uintOr("idle-time-out", 0)
	o.OutgoingLocales = f.symbols("outgoing-locales")
	o.IncomingLocales = f.symbols("incoming-locales")
	o.OfferedCapabilities = f.symbols("offered-capabilities")
	o.DesiredCapabilities = f.symbols("desired-capabilities")
	o.Properties = f.symbolMap("properties")
	f.done(&r)
	return r.result()
}
