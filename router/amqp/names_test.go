package amqp

import (
	"bytes"
	"reflect"
	"testing"
)

// Every descriptor of the specification has a symbolic form beside the numeric one.
func TestCodeOf(t *testing.T) {
	for name, code := range map[string]uint64{
		"open:list": CodeOpen, "begin:list": CodeBegin, "attach:list": CodeAttach, "flow:list": CodeFlow, "transfer:list": CodeTransfer,
		"disposition:list": CodeDisposition, "detach:list": CodeDetach, "end:list": CodeEnd, "close:list": CodeClose, "error:list": CodeError,
		"received:list": CodeReceived, "accepted:list": CodeAccepted, "rejected:list": CodeRejected, "released:list": CodeReleased,
		"modified:list": CodeModified, "source:list": CodeSource, "target:list": CodeTarget, "delete-on-close:list": CodeDeleteOnClose,
		"delete-on-no-links:list": CodeDeleteOnNoLinks, "delete-on-no-messages:list": CodeDeleteOnNoMessages,
		"delete-on-no-links-or-messages:list": CodeDeleteOnNoLinksOrMessages, "coordinator:list": CodeCoordinator, "declare:list": CodeDeclare,
		"discharge:list": CodeDischarge, "declared:list": CodeDeclared, "transactional-state:list": CodeTransactionalState,
		"sasl-mechanisms:list": CodeSASLMechanisms, "sasl-init:list": CodeSASLInit, "sasl-challenge:list": CodeSASLChallenge,
		"sasl-response:list": CodeSASLResponse, "sasl-outcome:list": CodeSASLOutcome, "header:list": CodeHeader,
		"delivery-annotations:map": CodeDeliveryAnnotations, "message-annotations:map": CodeMessageAnnotations, "properties:list": CodeProperties,
		"application-properties:map": CodeApplicationProperties, "data:binary": CodeData, "amqp-sequence:list": CodeSequence,
		"amqp-value:*": CodeValue, "footer:map": CodeFooter, "open": codeUnknown, "": codeUnknown,
	} {
		if got := codeOf([]byte("amqp:" + name)); got != code {
			t.Errorf("%s: 0x%x, want 0x%x", name, got, code)
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		RoleSender.String():                "sender",
		RoleReceiver.String():              "receiver",
		PropertyReplyToGroupID.String():    "reply-to-group-id",
		PropertyMessageID.String():         "message-id",
		SectionHeader.String():             "header",
		SectionFooter.String():             "footer",
		HeaderAMQP.String():                "AMQP 1.0.0",
		HeaderTLS.String():                 "TLS for AMQP 1.0.0",
		HeaderSASL.String():                "SASL for AMQP 1.0.0",
		numSections.String():               "unknown",
		(numProperties + 1).String() + "!": "unknown!",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestOptional(t *testing.T) {
	if v := Some(uint32(0)).Or(7); v != 0 {
		t.Error(v)
	}
	if v := (Optional[uint32]{Value: 5}).Or(7); v != 7 {
		t.Error(v)
	}
}

func TestErrorfAndMissingCondition(t *testing.T) {
	e := Errorf(ErrCondNotFound, "no node %q", "a")
	if e.Error() != `amqp:not-found: no node "a"` {
		t.Error(e)
	}
	// The condition is mandatory: a forgotten one must not make the frame unreadable.
	var c Close
	if _, err := c.Decode((&Close{Error: &Error{Description: "d"}}).Append(nil)); err != nil || c.Error.Condition != ErrCondInternalError {
		t.Errorf("%+v, %v", c.Error, err)
	}
}

// Zero is no maximum frame size that anybody could mean.
func TestOpenWithoutMaxFrameSize(t *testing.T) {
	var o Open
	if _, err := o.Decode((&Open{ContainerID: "c"}).Append(nil)); err != nil || o.MaxFrameSize != DefaultMaxFrameSize || o.ChannelMax != 0 {
		t.Errorf("%+v, %v", o, err)
	}
}

// The exported appenders write what AppendValue writes.
func TestAppenders(t *testing.T) {
	for _, c := range []struct {
		got  []byte
		want any
	}{
		{AppendNull(nil), nil}, {AppendBool(nil, true), true}, {AppendUbyte(nil, 7), uint8(7)}, {AppendUshort(nil, 700), uint16(700)},
		{AppendUint(nil, 70000), uint32(70000)}, {AppendUlong(nil, 7), uint64(7)}, {AppendInt(nil, -7), int32(-7)}, {AppendLong(nil, -700), int64(-700)},
		{AppendTimestamp(nil, 5), Timestamp(5)}, {AppendUUID(nil, UUID{1}), UUID{1}}, {AppendBinary(nil, nil), []byte{}},
		{AppendString(nil, "s"), "s"}, {AppendSymbol(nil, "s"), Symbol("s")},
	} {
		if !bytes.Equal(c.got, AppendValue(nil, c.want)) {
			t.Errorf("%#v: %x", c.want, c.got)
		}
		if v, _, err := DecodeValue(c.got); err != nil || !reflect.DeepEqual(v, c.want) {
			t.Errorf("%#v: %#v, %v", c.want, v, err)
		}
	}
}
