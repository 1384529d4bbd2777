package amqp

// Source is the source of a link (3.5.3).
type Source struct {
	Address               string // "": null
	Durable               Durability
	ExpiryPolicy          ExpiryPolicy // ExpireSessionEnd if absent; "" is written as absent
	Timeout               uint32       // seconds
	Dynamic               bool
	DynamicNodeProperties map[Symbol]any
	DistributionMode      Symbol // "": absent
	Filter                FilterSet
	DefaultOutcome        DeliveryState // nil if absent
	Outcomes              []Symbol
	Capabilities          []Symbol
}

// Target is the target of a link (3.5.4).
type Target struct {
	Address               string // "": null, the anonymous terminus
	Durable               Durability
	ExpiryPolicy          ExpiryPolicy // ExpireSessionEnd if absent; "" is written as absent
	Timeout               uint32       // seconds
	Dynamic               bool
	DynamicNodeProperties map[Symbol]any
	Capabilities          []Symbol
}

// Coordinator is the target of a link to a transaction coordinator (4.5.1).
type Coordinator struct {
	Capabilities []Symbol
}

func (s *Source) append(b []byte) []byte {
	w := begin(b, CodeSource)
	w.string(s.Address)
	w.uintOr(uint32(s.Durable), uint32(DurabilityNone))
	w.expiryPolicy(s.ExpiryPolicy)
	w.uintOr(s.Timeout, 0)
	w.flag(s.Dynamic)
	w.symbolMap(s.DynamicNodeProperties)
	w.symbol(s.DistributionMode)
	w.filters(s.Filter)
	w.state(s.DefaultOutcome)
	w.symbols(s.Outcomes)
	w.symbols(s.Capabilities)
	return w.end()
}

// decode reads a source whose descriptor is consumed.
func (s *Source) decode(r *reader) {
	f := r.fields("source")
	s.Address = f.stringOr("address")
	s.Durable = Durability(f.uintOr("durable", uint32(DurabilityNone)))
	s.ExpiryPolicy = f.expiryPolicy()
	s.Timeout = f.uintOr("timeout", 0)
	s.Dynamic = f.flag("dynamic")
	s.DynamicNodeProperties = f.symbolMap("dynamic-node-properties")
	s.DistributionMode = f.symbolOr("distribution-mode", "")
	s.Filter = f.filters("filter")
	s.DefaultOutcome = f.outcome("default-outcome")
	s.Outcomes = f.symbols("outcomes")
	s.Capabilities = f.symbols("capabilities")
	f.done(r)
}

func (t *Target) append(b []byte) []byte {
	w := begin(b, CodeTarget)
	w.string(t.Address)
	w.uintOr(uint32(t.Durable), uint32(DurabilityNone))
	w.expiryPolicy(t.ExpiryPolicy)
	w.uintOr(t.Timeout, 0)
	w.flag(t.Dynamic)
	w.symbolMap(t.DynamicNodeProperties)
	w.symbols(t.Capabilities)
	return w.end()
}

// decode reads a target whose descriptor is consumed.
func (t *Target) decode(r *reader) {
	f := r.fields("target")
	t.Address = f.stringOr("address")
	t.Durable = Durability(f.uintOr("durable", uint32(DurabilityNone)))
	t.ExpiryPolicy = f.expiryPolicy()
	t.Timeout = f.uintOr("timeout", 0)
	t.Dynamic = f.flag("dynamic")
	t.DynamicNodeProperties = f.symbolMap("dynamic-node-properties")
	t.Capabilities = f.symbols("capabilities")
	f.done(r)
}

func (c *Coordinator) append(b []byte) []byte {
	w := begin(b, CodeCoordinator)
	w.symbols(c.Capabilities)
	return w.end()
}

// decode reads a coordinator whose descriptor is consumed.
func (c *Coordinator) decode(r *reader) {
	f := r.fields("coordinator")
	c.Capabilities = f.symbols("capabilities")
	f.done(r)
}

func (w *writer) expiryPolicy(p ExpiryPolicy) {
	if p == ExpireSessionEnd {
		p = ""
	}
	w.symbol(Symbol(p))
}

func (f *fields) expiryPolicy() ExpiryPolicy {
	return ExpiryPolicy(f.symbolOr("expiry-policy", Symbol(ExpireSessionEnd)))
}
