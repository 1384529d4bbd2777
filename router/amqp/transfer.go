package amqp

// Transfer carries a message or a part of one (2.7.5). The payload is what follows the performative in the frame: Decode
// returns it, and the writer puts it behind the appended performative, as a slice of its own if it likes.
//
// It decodes without allocation unless its state carries an error or annotations.
type Transfer struct {
	Handle        uint32
	DeliveryID    Optional[uint32]
	DeliveryTag   []byte // nil if absent. After Decode a slice of the frame
	MessageFormat Optional[uint32]
	Settled       Optional[bool]
	More          bool
	RcvSettleMode Optional[ReceiverSettleMode]
	State         DeliveryState // nil if absent
	Resume        bool
	Aborted       bool
	Batchable     bool
}

// Descriptor is CodeTransfer.
func (t *Transfer) Descriptor() uint64 { return CodeTransfer }

// Append appends the encoded performative, without payload.
func (t *Transfer) Append(b []byte) []byte {
	w := begin(b, CodeTransfer)
	w.uint(t.Handle)
	w.optUint(t.DeliveryID)
	w.binary(t.DeliveryTag)
	w.optUint(t.MessageFormat)
	w.optBool(t.Settled)
	w.flag(t.More)
	if t.RcvSettleMode.Set {
		w.ubyte(uint8(t.RcvSettleMode.Value))
	} else {
		w.null()
	}
	w.state(t.State)
	w.flag(t.Resume)
	w.flag(t.Aborted)
	w.flag(t.Batchable)
	return w.end()
}

// Decode reads the performative at the beginning of body and returns the payload, a slice of body. DeliveryTag is one too.
func (t *Transfer) Decode(body []byte) (payload []byte, err error) {
	r := reader{b: body}
	f := r.composite("transfer", CodeTransfer)
	t.Handle = f.mustUint("handle")
	t.DeliveryID = f.optUint("delivery-id")
	t.DeliveryTag = nil
	if f.has("delivery-tag") {
		t.DeliveryTag = f.deliveryTag()
	}
	t.MessageFormat = f.optUint("message-format")
	t.Settled = f.optBool("settled")
	t.More = f.flag("more")
	t.RcvSettleMode = Optional[ReceiverSettleMode]{}
	if f.has("rcv-settle-mode") {
		t.RcvSettleMode = Some(f.receiverSettleMode())
	}
	t.State = f.state("state")
	t.Resume = f.flag("resume")
	t.Aborted = f.flag("aborted")
	t.Batchable = f.flag("batchable")
	f.done(&r)
	return r.result()
}

// deliveryTag returns a slice of the input.
func (r *reader) deliveryTag() []byte {
	tag := r.binary()
	if len(tag) > MaxTagSize {
		r.invalid("delivery-tag of more than 32 bytes") // 2.8.7
	}
	return tag
}
