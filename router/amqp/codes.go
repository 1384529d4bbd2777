package amqp

// Numeric descriptors of the types that the specification defines. The domain id of all of them is 0.
const (
	CodeOpen        uint64 = 0x10
	CodeBegin       uint64 = 0x11
	CodeAttach      uint64 = 0x12
	CodeFlow        uint64 = 0x13
	CodeTransfer    uint64 = 0x14
	CodeDisposition uint64 = 0x15
	CodeDetach      uint64 = 0x16
	CodeEnd         uint64 = 0x17
	CodeClose       uint64 = 0x18
	CodeError       uint64 = 0x1d

	CodeReceived uint64 = 0x23
	CodeAccepted uint64 = 0x24
	CodeRejected uint64 = 0x25
	CodeReleased uint64 = 0x26
	CodeModified uint64 = 0x27

	CodeSource                    uint64 = 0x28
	CodeTarget                    uint64 = 0x29
	CodeDeleteOnClose             uint64 = 0x2b
	CodeDeleteOnNoLinks           uint64 = 0x2c
	CodeDeleteOnNoMessages        uint64 = 0x2d
	CodeDeleteOnNoLinksOrMessages uint64 = 0x2e

	CodeCoordinator        uint64 = 0x30
	CodeDeclare            uint64 = 0x31
	CodeDischarge          uint64 = 0x32
	CodeDeclared           uint64 = 0x33
	CodeTransactionalState uint64 = 0x34

	CodeSASLMechanisms uint64 = 0x40
	CodeSASLInit       uint64 = 0x41
	CodeSASLChallenge  uint64 = 0x42
	CodeSASLResponse   uint64 = 0x43
	CodeSASLOutcome    uint64 = 0x44

	CodeHeader                uint64 = 0x70
	CodeDeliveryAnnotations   uint64 = 0x71
	CodeMessageAnnotations    uint64 = 0x72
	CodeProperties            uint64 = 0x73
	CodeApplicationProperties uint64 = 0x74
	CodeData                  uint64 = 0x75
	CodeSequence              uint64 = 0x76
	CodeValue                 uint64 = 0x77
	CodeFooter                uint64 = 0x78

	// codeUnknown is what an unknown symbolic descriptor becomes: no domain has this number.
	codeUnknown = ^uint64(0)
)

// Format codes (1.2): the subcategory (high nibble) gives the width.
const (
	fcDescribed  = 0x00
	fcNull       = 0x40
	fcTrue       = 0x41
	fcFalse      = 0x42
	fcUint0      = 0x43
	fcUlong0     = 0x44
	fcList0      = 0x45
	fcUbyte      = 0x50
	fcByte       = 0x51
	fcSmallUint  = 0x52
	fcSmallUlong = 0x53
	fcSmallInt   = 0x54
	fcSmallLong  = 0x55
	fcBool       = 0x56
	fcUshort     = 0x60
	fcShort      = 0x61
	fcUint       = 0x70
	fcInt        = 0x71
	fcFloat      = 0x72
	fcChar       = 0x73
	fcDecimal32  = 0x74
	fcUlong      = 0x80
	fcLong       = 0x81
	fcDouble     = 0x82
	fcTimestamp  = 0x83
	fcDecimal64  = 0x84
	fcDecimal128 = 0x94
	fcUUID       = 0x98
	fcBinary8    = 0xa0
	fcString8    = 0xa1
	fcSymbol8    = 0xa3
	fcBinary32   = 0xb0
	fcString32   = 0xb1
	fcSymbol32   = 0xb3
	fcList8      = 0xc0
	fcMap8       = 0xc1
	fcList32     = 0xd0
	fcMap32      = 0xd1
	fcArray8     = 0xe0
	fcArray32    = 0xf0
)

// codeOf resolves a symbolic descriptor of the specification; a switch on string(b) does not allocate.
func codeOf(name []byte) uint64 {
	switch string(name) {
	case "amqp:open:list":
		return CodeOpen
	case "amqp:begin:list":
		return CodeBegin
	case "amqp:attach:list":
		return CodeAttach
	case "amqp:flow:list":
		return CodeFlow
	case "amqp:transfer:list":
		return CodeTransfer
	case "amqp:disposition:list":
		return CodeDisposition
	case "amqp:detach:list":
		return CodeDetach
	case "amqp:end:list":
		return CodeEnd
	case "amqp:close:list":
		return CodeClose
	case "amqp:error:list":
		return CodeError
	case "amqp:received:list":
		return CodeReceived
	case "amqp:accepted:list":
		return CodeAccepted
	case "amqp:rejected:list":
		return CodeRejected
	case "amqp:released:list":
		return CodeReleased
	case "amqp:modified:list":
		return CodeModified
	case "amqp:source:list":
		return CodeSource
	case "amqp:target:list":
		return CodeTarget
	case "amqp:delete-on-close:list":
		return CodeDeleteOnClose
	case "amqp:delete-on-no-links:list":
		return CodeDeleteOnNoLinks
	case "amqp:delete-on-no-messages:list":
		return CodeDeleteOnNoMessages
	case "amqp:delete-on-no-links-or-messages:list":
		return CodeDeleteOnNoLinksOrMessages
	case "amqp:coordinator:list":
		return CodeCoordinator
	case "amqp:declare:list":
		return CodeDeclare
	case "amqp:discharge:list":
		return CodeDischarge
	case "amqp:declared:list":
		return CodeDeclared
	case "amqp:transactional-state:list":
		return CodeTransactionalState
	case "amqp:sasl-mechanisms:list":
		return CodeSASLMechanisms
	case "amqp:sasl-init:list":
		return CodeSASLInit
	case "amqp:sasl-challenge:list":
		return CodeSASLChallenge
	case "amqp:sasl-response:list":
		return CodeSASLResponse
	case "amqp:sasl-outcome:list":
		return CodeSASLOutcome
	case "amqp:header:list":
		return CodeHeader
	case "amqp:delivery-annotations:map":
		return CodeDeliveryAnnotations
	case "amqp:message-annotations:map":
		return CodeMessageAnnotations
	case "amqp:properties:list":
		return CodeProperties
	case "amqp:application-properties:map":
		return CodeApplicationProperties
	case "amqp:data:binary":
		return CodeData
	case "amqp:amqp-sequence:list":
		return CodeSequence
	case "amqp:amqp-value:*":
		return CodeValue
	case "amqp:footer:map":
		return CodeFooter
	}
	return codeUnknown
}
