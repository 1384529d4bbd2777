package amqp

import (
	"reflect"
	"strings"
	"testing"
)

// performatives has one of each, with all fields and with as few as possible, as decoding returns them.
var performatives = []struct {
	name string
	p    Performative
}{
	{"open", &Open{ContainerID: "c", MaxFrameSize: DefaultMaxFrameSize, ChannelMax: DefaultChannelMax}},
	{"open full", &Open{
		ContainerID: "container", Hostname: "host", MaxFrameSize: 512, ChannelMax: 0, IdleTimeOut: 30000,
		OutgoingLocales: []Symbol{"en-US"}, IncomingLocales: []Symbol{"en-US", "de-DE"},
		OfferedCapabilities: []Symbol{"ANONYMOUS-RELAY"}, DesiredCapabilities: []Symbol{"SHARED-SUBS"},
		Properties: map[Symbol]any{"product": "posthouse", "n": int32(-500), "list": []any{nil, true, []any{}}},
	}},
	{"open long", &Open{
		ContainerID: strings.Repeat("c", 300), MaxFrameSize: 65536, ChannelMax: 255,
		OfferedCapabilities: []Symbol{Symbol(strings.Repeat("s", 256)), "t"},
	}},
	{"begin", &Begin{NextOutgoingID: 0, IncomingWindow: 1, OutgoingWindow: 4294967295, HandleMax: DefaultHandleMax}},
	{"begin full", &Begin{
		RemoteChannel: Some(uint16(0)), NextOutgoingID: 255, IncomingWindow: 256, OutgoingWindow: 2, HandleMax: 0,
		OfferedCapabilities: []Symbol{"a"}, DesiredCapabilities: []Symbol{"b"}, Properties: map[Symbol]any{"k": nil},
	}},
	{"attach", &Attach{Name: "l", SndSettleMode: SenderMixed}},
	{"attach full", &Attach{
		Name: "link", Handle: 7, Role: RoleReceiver, SndSettleMode: SenderUnsettled, RcvSettleMode: ReceiverSecond,
		Source: &Source{
			Address: "a", Durable: DurabilityUnsettledState, ExpiryPolicy: ExpireNever, Timeout: 3600, Dynamic: true,
			DynamicNodeProperties: map[Symbol]any{"lifetime-policy": Described{Descriptor: CodeDeleteOnClose, Value: []any{}}},
			DistributionMode:      DistributionCopy,
			Filter: FilterSet{
				{"z", Described{FilterSelectorCode, "colour = 'red'"}},
				{"a", Described{FilterNoLocalName, []any{}}},
				{"b", Described{nil, "not described"}},
			},
			DefaultOutcome: Modified{DeliveryFailed: true},
			Outcomes:       []Symbol{OutcomeAccepted, OutcomeReleased},
			Capabilities:   []Symbol{"topic"},
		},
		Target: &Target{
			Address: "t", Durable: 1, ExpiryPolicy: ExpireLinkDetach, Timeout: 1, Dynamic: true,
			DynamicNodeProperties: map[Symbol]any{"x": "y"}, Capabilities: []Symbol{"queue"},
		},
		Unsettled: []UnsettledDelivery{
			{[]byte("1"), nil}, {[]byte{}, Accepted{}}, {[]byte("2"), Received{SectionNumber: 3, SectionOffset: 1 << 40}},
		},
		IncompleteUnsettled: true, InitialDeliveryCount: Some(uint32(0)), MaxMessageSize: 1 << 33,
		OfferedCapabilities: []Symbol{"o"}, DesiredCapabilities: []Symbol{"d"}, Properties: map[Symbol]any{"p": uint64(1)},
	}},
	{"attach bare termini", &Attach{
		Name: "l", SndSettleMode: SenderSettled, Unsettled: []UnsettledDelivery{},
		Source: &Source{ExpiryPolicy: ExpireSessionEnd}, Target: &Target{ExpiryPolicy: ExpireSessionEnd},
	}},
	{"attach coordinator", &Attach{
		Name: "l", SndSettleMode: SenderMixed, Coordinator: &Coordinator{Capabilities: []Symbol{"amqp:local-transactions"}},
	}},
	{"attach unknown termini", &Attach{
		Name: "l", SndSettleMode: SenderMixed,
		OtherSource: &Described{Symbol("x:source"), []any{"a"}}, OtherTarget: &Described{uint64(0x4711), Map{}},
	}},
	{"flow", &Flow{IncomingWindow: 5, NextOutgoingID: 6, OutgoingWindow: 7}},
	{"flow full", &Flow{
		NextIncomingID: Some(uint32(1)), IncomingWindow: 2, NextOutgoingID: 3, OutgoingWindow: 4, Handle: Some(uint32(0)),
		DeliveryCount: Some(uint32(4294967295)), LinkCredit: Some(uint32(0)), Available: Some(uint32(9)), Drain: true, Echo: true,
		Properties: map[Symbol]any{"backlog": uint64(12), "at": Timestamp(1311704463521)},
	}},
	{"transfer", &Transfer{}},
	{"transfer full", &Transfer{
		Handle: 1, DeliveryID: Some(uint32(0)), DeliveryTag: []byte("0123456789abcdef0123456789abcdef"), MessageFormat: Some(uint32(0)),
		Settled: Some(false), More: true, RcvSettleMode: Some(ReceiverFirst), State: Received{}, Resume: true, Aborted: true, Batchable: true,
	}},
	{"transfer empty tag", &Transfer{DeliveryTag: []byte{}, Settled: Some(true)}},
	{"disposition", &Disposition{First: 3, Last: 3}},
	{"disposition accepted", &Disposition{Role: RoleReceiver, First: 1, Last: 4, Settled: true, State: Accepted{}, Batchable: true}},
	{"disposition rejected", &Disposition{State: Rejected{Error: &Error{ErrCondNotFound, "no", map[Symbol]any{"a": "b"}}}}},
	{"disposition rejected bare", &Disposition{State: Rejected{}}},
	{"disposition modified", &Disposition{State: Modified{true, true, map[Symbol]any{"x-opt-a": uint32(1)}}}},
	{"disposition released", &Disposition{State: Released{}}},
	{"disposition declared", &Disposition{State: Declared{TxnID: []byte("txn")}}},
	{"disposition transactional", &Disposition{State: TransactionalState{[]byte("txn"), Accepted{}}}},
	{"disposition unknown", &Disposition{State: Described{uint64(0x4711), []any{uint8(1)}}}},
	{"detach", &Detach{}},
	{"detach full", &Detach{Handle: 300, Closed: true, Error: &Error{Condition: ErrCondStolen}}},
	{"end", &End{}},
	{"end full", &End{Error: &Error{Condition: ErrCondWindowViolation, Description: "too many"}}},
	{"close", &Close{}},
	{"close full", &Close{Error: &Error{Condition: ErrCondConnectionForced}}},
}

func TestPerformativesComeBackAsTheyWere(t *testing.T) {
	for _, c := range performatives {
		t.Run(c.name, func(t *testing.T) {
			body := append(c.p.Append(nil), "payload"...)
			code, err := PerformativeCode(body)
			if err != nil || code != c.p.Descriptor() {
				t.Fatalf("code 0x%x, %v", code, err)
			}
			p, payload, err := DecodePerformative(body)
			if err != nil {
				t.Fatal(err)
			}
			if string(payload) != "payload" {
				t.Errorf("payload %q", payload)
			}
			if !reflect.DeepEqual(p, c.p) {
				t.Errorf("got  %+v\nwant %+v", p, c.p)
			}
		})
	}
}

// A used struct must not show anything of what it held before.
func TestDecodeOverwritesAllFields(t *testing.T) {
	for _, full := range performatives {
		for _, c := range performatives {
			if full.p.Descriptor() != c.p.Descriptor() {
				continue
			}
			p := reflect.New(reflect.TypeOf(full.p).Elem()).Interface().(Performative)
			if _, err := p.Decode(full.p.Append(nil)); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Decode(c.p.Append(nil)); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(p, c.p) {
				t.Errorf("%s after %s: got %+v, want %+v", c.name, full.name, p, c.p)
			}
		}
	}
}

func TestTruncatedPerformativesAreErrors(t *testing.T) {
	for _, c := range performatives {
		whole := c.p.Append(nil)
		for n := range whole {
			if p, _, err := DecodePerformative(whole[:n:n]); err == nil {
				t.Errorf("%s: %d of %d bytes decode to %+v", c.name, n, len(whole), p)
			}
		}
	}
}

// Decoded performatives live on, whatever becomes of the buffer; but for the delivery-tag, which is documented.
func TestDecodedPerformativesAreCopies(t *testing.T) {
	for _, c := range performatives {
		if c.p.Descriptor() == CodeTransfer {
			continue
		}
		body := c.p.Append(nil)
		p, _, err := DecodePerformative(body)
		if err != nil {
			t.Fatal(err)
		}
		for i := range body {
			body[i] = 0xff
		}
		if !reflect.DeepEqual(p, c.p) {
			t.Errorf("%s: changed with the buffer: %+v", c.name, p)
		}
	}
}
