package amqp

// Attach attaches a link to a session (2.7.3).
type Attach struct {
	Name          string
	Handle        uint32
	Role          Role
	SndSettleMode SenderSettleMode   // SenderMixed if absent
	RcvSettleMode ReceiverSettleMode // ReceiverFirst if absent

	// Source is nil if there is none, which is not the same as a source without address.
	Source *Source
	// Target is nil if there is none, or if the target is a coordinator.
	Target *Target
	// Coordinator is the target of a link to a transaction coordinator.
	Coordinator *Coordinator
	// OtherSource and OtherTarget hold a terminus of a type that this package does not know, so that the link can be refused
	// (amqp:not-implemented) rather than the connection. Source, Target and Coordinator are nil then.
	OtherSource *Described
	OtherTarget *Described

	// Unsettled is nil if absent; an empty map is an empty slice. A state of nil means that the delivery is known, no more.
	Unsettled            []UnsettledDelivery
	IncompleteUnsettled  bool
	InitialDeliveryCount Optional[uint32] // must be set by a sender
	MaxMessageSize       uint64           // 0: no limit
	OfferedCapabilities  []Symbol
	DesiredCapabilities  []Symbol
	Properties           map[Symbol]any
}

// UnsettledDelivery is one entry of an unsettled map.
type UnsettledDelivery struct {
	Tag   []byte
	State DeliveryState
}

// Descriptor is CodeAttach.
func (a *Attach) Descriptor() uint64 { return CodeAttach }

// Append appends the encoded performative.
func (a *Attach) Append(b []byte) []byte {
	w := begin(b, CodeAttach)
	w.mustString(a.Name)
	w.uint(a.Handle)
	w.bool(bool(a.Role))
	w.ubyteOr(uint8(a.SndSettleMode), uint8(SenderMixed))
	w.ubyteOr(uint8(a.RcvSettleMode), uint8(ReceiverFirst))
	a.appendSource(&w)
	a.appendTarget(&w)
	a.appendUnsettled(&w)
	w.flag(a.IncompleteUnsettled)
	w.optUint(a.InitialDeliveryCount)
	w.ulongOr(a.MaxMessageSize, 0)
	w.symbols(a.OfferedCapabilities)
	w.symbols(a.DesiredCapabilities)
	w.symbolMap(a.Properties)
	return w.end()
}

func (a *Attach) appendSource(w *writer) {
	switch {
	case a.Source != nil:
		w.field()
		w.b = a.Source.append(w.b)
	case a.OtherSource != nil:
		w.value(*a.OtherSource)
	default:
		w.null()
	}
}

func (a *Attach) appendTarget(w *writer) {
	switch {
	case a.Target != nil:
		w.field()
		w.b = a.Target.append(w.b)
	case a.Coordinator != nil:
		w.field()
		w.b = a.Coordinator.append(w.b)
	case a.OtherTarget != nil:
		w.value(*a.OtherTarget)
	default:
		w.null()
	}
}

func (a *Attach) appendUnsettled(w *writer) {
	if a.Unsettled == nil {
		w.null()
		return
	}
	w.field()
	b, at := beginCompound(w.b, fcMap8)
	for _, u := range a.Unsettled {
		b = AppendState(AppendBinary(b, u.Tag), u.State)
	}
	w.b = endCompound(b, at, 2*len(a.Unsettled), fcMap32)
}

// Decode reads the performative at the beginning of body.
func (a *Attach) Decode(body []byte) (payload []byte, err error) {
	*a = Attach{}
	r := reader{b: body}
	f := r.composite("attach", CodeAttach)
	if f.must("name") {
		a.Name = f.string()
	}
	a.Handle = f.mustUint("handle")
	if f.must("role") {
		a.Role = Role(f.bool())
	}
	a.SndSettleMode = SenderMixed
	if f.has("snd-settle-mode") {
		a.SndSettleMode = f.senderSettleMode()
	}
	if f.has("rcv-settle-mode") {
		a.RcvSettleMode = f.receiverSettleMode()
	}
	if f.has("source") {
		a.decodeSource(&f)
	}
	if f.has("target") {
		a.decodeTarget(&f)
	}
	if f.has("unsettled") {
		a.Unsettled = f.unsettled()
	}
	a.IncompleteUnsettled = f.flag("incomplete-unsettled")
	a.InitialDeliveryCount = f.optUint("initial-delivery-count")
	a.MaxMessageSize = f.ulongOr("max-message-size", 0)
	a.OfferedCapabilities = f.symbols("offered-capabilities")
	a.DesiredCapabilities = f.symbols("desired-capabilities")
	a.Properties = f.symbolMap("properties")
	f.done(&r)
	return r.result()
}

func (a *Attach) decodeSource(f *fields) {
	start := f.b
	switch f.descriptor() {
	case CodeSource:
		a.Source = new(Source)
		a.Source.decode(&f.reader)
	default:
		a.OtherSource = f.described(start)
	}
}

func (a *Attach) decodeTarget(f *fields) {
	start := f.b
	switch f.descriptor() {
	case CodeTarget:
		a.Target = new(Target)
		a.Target.decode(&f.reader)
	case CodeCoordinator:
		a.Coordinator = new(Coordinator)
		a.Coordinator.decode(&f.reader)
	default:
		a.OtherTarget = f.described(start)
	}
}

// described goes back to the start of a described value and decodes it generically.
func (r *reader) described(start []byte) *Described {
	if r.err != nil {
		return nil
	}
	r.b = start
	d, ok := r.value(1).(Described)
	if !ok {
		return nil
	}
	return &d
}

func (r *reader) senderSettleMode() SenderSettleMode {
	m := SenderSettleMode(r.ubyte())
	if m > SenderMixed {
		r.invalid("no such mode")
	}
	return m
}

func (r *reader) receiverSettleMode() ReceiverSettleMode {
	m := ReceiverSettleMode(r.ubyte())
	if m > ReceiverSecond {
		r.invalid("no such mode")
	}
	return m
}

// unsettled reads a map from delivery-tag to delivery state.
func (r *reader) unsettled() []UnsettledDelivery {
	entries := r.mapOf()
	n := entries.left / 2
	all := make([]UnsettledDelivery, 0, room(n))
	seen := make(map[string]struct{}, room(n))
	for range n {
		u := UnsettledDelivery{Tag: append([]byte{}, entries.deliveryTag()...)}
		u.State = entries.stateOrNull()
		if entries.err != nil {
			break
		}
		if _, twice := seen[string(u.Tag)]; twice {
			entries.fail(ErrCondDecodeError, "map with a key twice")
			break
		}
		seen[string(u.Tag)] = struct{}{}
		all = append(all, u)
	}
	entries.left = 0
	entries.done(r)
	return all
}
