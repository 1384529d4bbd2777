package amqp

import (
	"bytes"
	"strings"
)

const (
	goAMQPWindow = 5000
	protonWindow = 1<<31 - 1
	sentAt       = 1709208000005 // 2024-02-29 12:00:00.005 UTC
)

var (
	sessionEnd = ExpireSessionEnd

	// The subscription that the Proton client asks for and the Proton server grants.
	protonSource = &Source{
		Address: "orders", Durable: DurabilityUnsettledState, ExpiryPolicy: ExpireNever, Timeout: 60, DistributionMode: DistributionCopy,
		Filter: FilterSet{{"selector", Described{FilterSelectorName, "colour = 'red'"}}},
	}
	bytes0to15 = [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
)

// first is the first transfer of a delivery, as both implementations send it.
func first(id uint32, tag string) *Transfer {
	return &Transfer{DeliveryID: Some(id), DeliveryTag: []byte(tag), MessageFormat: Some(uint32(0))}
}

func more(t *Transfer) *Transfer {
	t.More = true
	return t
}

func settled(t *Transfer) *Transfer {
	t.Settled = Some(true)
	return t
}

// fromProton is a message as Proton's Message encodes it: with empty header and properties.
func fromProton(value any) *Message {
	return &Message{Header: &Header{Priority: DefaultPriority}, Properties: &Properties{}, Value: value}
}

// goldenWant is what each line of the recordings must decode to: what record_test.go and record_proton.py ask for, with what the
// implementations add by themselves.
var goldenWant = map[string][]any{
	"goamqp-receiver.txt": {
		HeaderSASL,
		&SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00user\x00secret")},
		HeaderAMQP,
		&Open{
			ContainerID: "golden", Hostname: "vhost", MaxFrameSize: 4096, ChannelMax: 16, IdleTimeOut: 15000,
			Properties: map[Symbol]any{"product": "recorder"},
		},
		&Begin{IncomingWindow: goAMQPWindow, OutgoingWindow: goAMQPWindow, HandleMax: DefaultHandleMax - 1},
		&Attach{
			Name: "sub-1", Role: RoleReceiver, SndSettleMode: SenderMixed, RcvSettleMode: ReceiverSecond,
			Source: &Source{
				Address: "orders", Durable: DurabilityUnsettledState, ExpiryPolicy: ExpireNever, Timeout: 7, DistributionMode: DistributionCopy,
				Filter:       FilterSet{{FilterSelectorName, Described{FilterSelectorCode, "colour = 'red'"}}},
				Capabilities: []Symbol{"topic", "shared"},
			},
			Target:         &Target{Address: "here", ExpiryPolicy: sessionEnd},
			MaxMessageSize: 1 << 20, DesiredCapabilities: []Symbol{"SHARED-SUBS"}, Properties: map[Symbol]any{"limit": int64(1000)},
		},
		&Flow{
			NextIncomingID: Some(uint32(0)), IncomingWindow: goAMQPWindow, OutgoingWindow: goAMQPWindow, Handle: Some(uint32(0)),
			DeliveryCount: Some(uint32(0)), LinkCredit: Some(uint32(5)),
		},
		&Disposition{Role: RoleReceiver, State: Accepted{}},
		&Disposition{
			Role: RoleReceiver, First: 1, Last: 1,
			State: Rejected{&Error{ErrCondNotAllowed, "no", map[Symbol]any{"why": "because"}}},
		},
		&Disposition{Role: RoleReceiver, First: 2, Last: 2, State: Released{}},
		&Disposition{Role: RoleReceiver, First: 3, Last: 3, State: Modified{true, true, map[Symbol]any{"x-opt-tried": int32(-1)}}},
		&Flow{
			NextIncomingID: Some(uint32(4)), IncomingWindow: goAMQPWindow, OutgoingWindow: goAMQPWindow, Handle: Some(uint32(0)),
			DeliveryCount: Some(uint32(4)), LinkCredit: Some(uint32(0)), Drain: true,
		},
		&Detach{Closed: true},
		&Attach{
			Name: "reply", Role: RoleReceiver, SndSettleMode: SenderMixed,
			Source: &Source{ExpiryPolicy: sessionEnd, Dynamic: true}, Target: &Target{ExpiryPolicy: sessionEnd},
		},
		&End{},
		&Close{},
	},

	"goamqp-sender.txt": {
		HeaderSASL,
		&SASLInit{Mechanism: "ANONYMOUS", InitialResponse: []byte("anonymous")},
		HeaderAMQP,
		&Open{ContainerID: "golden", MaxFrameSize: 65536, ChannelMax: DefaultChannelMax, IdleTimeOut: 30000},
		&Begin{IncomingWindow: goAMQPWindow, OutgoingWindow: goAMQPWindow, HandleMax: 19},
		&Attach{
			Name: "pub-1", SndSettleMode: SenderMixed, Source: &Source{Address: "from", ExpiryPolicy: sessionEnd},
			Target: &Target{
				Address: "orders", Durable: DurabilityConfiguration, ExpiryPolicy: ExpireLinkDetach, Timeout: 300, Capabilities: []Symbol{"queue"},
			},
			InitialDeliveryCount: Some(uint32(0)), Properties: map[Symbol]any{"a": true},
		},
		message{first(0, "tag"), &Message{
			Header:              &Header{Durable: true, Priority: 9, TTL: Some(uint32(90000)), FirstAcquirer: true, DeliveryCount: 300},
			DeliveryAnnotations: Map{{Symbol("x-opt-d"), uint8(7)}},
			MessageAnnotations:  Map{{int64(42), Symbol("ulong key")}}, // not a ulong: go-amqp sends the key that it is given
			Properties: &Properties{
				MessageID: UUID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, UserID: []byte("me"), To: "orders", Subject: "new",
				ReplyTo: "replies", CorrelationID: uint64(1 << 40), ContentType: "text/plain", ContentEncoding: "gzip",
				AbsoluteExpiryTime: Some(int64(sentAt)), CreationTime: Some(int64(sentAt)), GroupID: "g", GroupSequence: Some(uint32(3)), ReplyToGroupID: "rg",
			},
			ApplicationProperties: Map{{"weight", 1.5}},
			Data:                  [][]byte{[]byte("one"), []byte("two")},
			Footer:                Map{{Symbol("x-opt-sum"), []byte{1, 2}}},
		}},
		message{settled(first(1, "\x00\x00\x00\x00\x00\x00\x00\x00")), &Message{
			Sequences: [][]any{{"a", int32(300), nil, false, []any{}, float32(0.5), Timestamp(sentAt), UUID{9}}},
		}},
		message{more(first(2, "\x00\x00\x00\x00\x00\x00\x00\x01")), nil},
		message{more(&Transfer{}), nil},
		message{&Transfer{}, &Message{Data: [][]byte{bytes.Repeat([]byte("0123456789abcdef"), 60)}}},
		message{first(3, "\x00\x00\x00\x00\x00\x00\x00\x02"), &Message{
			Value: Map{{"list", Array{Items: []any{int64(1), int64(200), int64(-3)}}}},
		}},
		&Detach{Closed: true},
		&Close{},
	},

	"proton.txt": {
		HeaderSASL,
		HeaderSASL,
		&SASLMechanisms{Mechanisms: []Symbol{"ANONYMOUS"}},
		&SASLInit{Mechanism: "ANONYMOUS", InitialResponse: []byte("anonymous")},
		&SASLOutcome{Code: SASLOK},
		HeaderAMQP,
		&Open{
			ContainerID: "proton-client", Hostname: "vhost", MaxFrameSize: 1024, ChannelMax: 32767, IdleTimeOut: 30000,
			OfferedCapabilities: []Symbol{"cap-a", "cap-b"}, DesiredCapabilities: []Symbol{"ANONYMOUS-RELAY"}, // both are lists, not arrays
			Properties: map[Symbol]any{"product": "client", "n": int32(1)},
		},
		HeaderAMQP,
		&Open{
			ContainerID: "proton-server", MaxFrameSize: DefaultMaxFrameSize, ChannelMax: 32767,
			OfferedCapabilities: []Symbol{"ANONYMOUS-RELAY"}, Properties: map[Symbol]any{"product": "server"},
		},
		&Begin{IncomingWindow: protonWindow, OutgoingWindow: protonWindow, HandleMax: DefaultHandleMax},
		&Attach{
			Name: "pub", SndSettleMode: SenderMixed, Source: &Source{ExpiryPolicy: sessionEnd},
			Target:               &Target{Address: "orders", ExpiryPolicy: sessionEnd, Capabilities: []Symbol{"queue", "extra"}},
			InitialDeliveryCount: Some(uint32(0)), Properties: map[Symbol]any{"p": uint32(1)},
		},
		&Begin{RemoteChannel: Some(uint16(0)), IncomingWindow: protonWindow, OutgoingWindow: protonWindow, HandleMax: DefaultHandleMax},
		&Attach{
			Name: "pub", Role: RoleReceiver, SndSettleMode: SenderMixed, // and no source at all
			Target:               &Target{Address: "orders", ExpiryPolicy: sessionEnd, Capabilities: []Symbol{"queue", "extra"}},
			InitialDeliveryCount: Some(uint32(0)),
		},
		&Flow{
			NextIncomingID: Some(uint32(0)), IncomingWindow: protonWindow, OutgoingWindow: protonWindow, Handle: Some(uint32(0)),
			DeliveryCount: Some(uint32(0)), LinkCredit: Some(uint32(10)),
		},
		message{first(0, "1"), &Message{
			Header:              &Header{Durable: true, Priority: 9, TTL: Some(uint32(90000)), FirstAcquirer: true, DeliveryCount: 2},
			DeliveryAnnotations: Map{{Symbol("x-opt-d"), uint8(7)}},
			MessageAnnotations:  Map{{Symbol("x-opt-m"), Described{Symbol("x:y"), "v"}}},
			Properties: &Properties{
				MessageID: UUID(bytes0to15), UserID: []byte("me"), To: "orders", Subject: "new", ReplyTo: "replies", CorrelationID: uint64(7),
				ContentType: "text/plain", ContentEncoding: "gzip", AbsoluteExpiryTime: Some(int64(sentAt)), CreationTime: Some(int64(sentAt)),
				GroupID: "g", GroupSequence: Some(uint32(3)), ReplyToGroupID: "rg",
			},
			ApplicationProperties: Map{{"weight", 1.5}, {"n", nil}, {"i", int32(-5)}},
			Data:                  [][]byte{[]byte("data")},
		}},
		message{first(1, "2"), fromProton([]any{
			nil, true, false, uint8(200), uint16(60000), uint32(0), uint32(7), uint32(70000), uint64(0), uint64(7), int64(1<<63 - 1),
			int8(-7), int16(-300), int32(-7), int32(-70000), int64(-7), int64(-1 << 40), float32(0.5), 1.5, Decimal32{1, 2, 3, 4},
			Decimal64{1, 2, 3, 4, 5, 6, 7, 8}, Decimal128(bytes0to15), Char('\u2709'), Timestamp(sentAt), UUID(bytes0to15), []byte{0, 255},
			"ä世", Symbol("sym"), []any{}, []any{int64(1), []any{"two"}}, Map{{"k", Map{{Symbol("s"), int64(1)}}}},
			Array{Items: []any{int32(1), int32(-200)}}, Array{Items: []any{Described{Symbol("d:e"), "a"}, Described{Symbol("d:e"), "b"}}},
		})},
		message{first(2, "3"), fromProton(strings.Repeat("x", 3000))},
		message{settled(first(3, "settled")), fromProton(Map{{"a", Described{FilterSelectorCode, "s"}}})},
		&Disposition{
			Role: RoleReceiver, First: 2, Last: 2, Settled: true,
			State: Rejected{&Error{ErrCondPreconditionFailed, "refused", map[Symbol]any{"a": int64(1)}}},
		},
		&Disposition{Role: RoleReceiver, First: 0, Last: 1, Settled: true, State: Accepted{}},
		&Detach{Closed: true},
		&Detach{Closed: true},
		&Attach{
			Name: "sub", Role: RoleReceiver, SndSettleMode: SenderUnsettled, Source: protonSource, Target: &Target{ExpiryPolicy: sessionEnd},
			InitialDeliveryCount: Some(uint32(0)),
		},
		&Flow{
			NextIncomingID: Some(uint32(0)), IncomingWindow: protonWindow, NextOutgoingID: 4, OutgoingWindow: protonWindow, Handle: Some(uint32(0)),
			DeliveryCount: Some(uint32(0)), LinkCredit: Some(uint32(2)),
		},
		&Attach{
			Name: "sub", SndSettleMode: SenderMixed, Source: protonSource, Target: &Target{ExpiryPolicy: sessionEnd},
			InitialDeliveryCount: Some(uint32(0)),
		},
		message{more(first(0, "1")), nil},
		message{first(0, "1"), fromProton(strings.Repeat("m0", 700))},
		message{first(1, "2"), fromProton("m1")},
		&Flow{
			NextIncomingID: Some(uint32(3)), IncomingWindow: protonWindow, NextOutgoingID: 4, OutgoingWindow: protonWindow, Handle: Some(uint32(0)),
			DeliveryCount: Some(uint32(2)), LinkCredit: Some(uint32(5)), Drain: true,
		},
		&Disposition{Role: RoleReceiver, Settled: true, State: Modified{true, true, map[Symbol]any{"x-opt-tried": int64(1)}}},
		&Disposition{Role: RoleReceiver, First: 1, Last: 1, Settled: true, State: Released{}},
		message{first(2, "3"), fromProton("m2")},
		&Flow{
			NextIncomingID: Some(uint32(4)), IncomingWindow: protonWindow, NextOutgoingID: 4, OutgoingWindow: protonWindow, Handle: Some(uint32(0)),
			DeliveryCount: Some(uint32(7)), LinkCredit: Some(uint32(0)), Drain: true,
		},
		&Attach{
			Name: "dyn", Handle: 1, Role: RoleReceiver, SndSettleMode: SenderMixed,
			Source: &Source{ExpiryPolicy: sessionEnd, Dynamic: true, DynamicNodeProperties: map[Symbol]any{"x": "y"}},
			Target: &Target{ExpiryPolicy: sessionEnd}, InitialDeliveryCount: Some(uint32(0)),
		},
		&Flow{
			NextIncomingID: Some(uint32(4)), IncomingWindow: protonWindow, NextOutgoingID: 4, OutgoingWindow: protonWindow, Handle: Some(uint32(0)),
			DeliveryCount: Some(uint32(7)), LinkCredit: Some(uint32(0)), Drain: true,
		},
		&Disposition{Role: RoleReceiver, First: 2, Last: 2, Settled: true, State: Accepted{}},
		&Detach{},
		&Attach{
			Name: "dyn", Handle: 1, SndSettleMode: SenderMixed, Source: &Source{Address: "dynamic-1", ExpiryPolicy: sessionEnd, Dynamic: true},
			Target: &Target{ExpiryPolicy: sessionEnd}, InitialDeliveryCount: Some(uint32(0)),
		},
		&Detach{Handle: 1, Closed: true},
		&Detach{Handle: 1, Closed: true},
		&Attach{
			Name: "miss", Role: RoleReceiver, SndSettleMode: SenderMixed, Source: &Source{Address: "missing", ExpiryPolicy: sessionEnd},
			Target: &Target{ExpiryPolicy: sessionEnd}, InitialDeliveryCount: Some(uint32(0)),
		},
		&Attach{
			Name: "miss", Handle: 1, SndSettleMode: SenderMixed, Source: &Source{ExpiryPolicy: sessionEnd},
			Target: &Target{ExpiryPolicy: sessionEnd}, InitialDeliveryCount: Some(uint32(0)),
		},
		&Detach{Handle: 1, Closed: true, Error: &Error{ErrCondNotFound, "no such node", map[Symbol]any{"node": "missing"}}},
		&Detach{Closed: true},
		&End{},
		&End{},
		&Close{Error: &Error{Condition: ErrCondResourceLimitExceeded, Description: "done"}},
		&Close{},
	},
}
