package agent

import "github.com/posthouse/posthouse/router/amqp"

// Verdict says what to do with a publish.
type Verdict uint8

const (
	// Direct: nobody needs it kept.
	Direct Verdict = iota
	// Captured: hand it to Publish; its answer comes from there alone.
	Captured
	// Withhold: keep it waiting and ask again after OnChange: there is no room, or it is not known yet whether it is captured.
	Withhold
	// Refuse: reject it, to direct subscribers, too: nobody gets a copy.
	Refuse
)

func (v Verdict) String() string {
	return [...]string{"direct", "captured", "withhold", "refuse"}[v&3]
}

// Admission is the answer of Admit.
type Admission struct {
	Verdict Verdict
	Err     *amqp.Error // of Refuse; shared, not to be changed
}

// Publish is a captured publish.
type Publish struct {
	Address string
	Payload []byte // the encoded message; the agent's until the receipt is answered
	Settled bool   // its publisher doesn't listen; it takes the lane like any other
	Receipt Receipt
}

// Receipt hears what became of a publish: exactly once, on a goroutine of the agent, under none of its locks. It must not block.
type Receipt interface {
	Answered(Answer)
}

// Answer is what became of a publish.
type Answer struct {
	Kind AnswerKind
	Err  *amqp.Error // of RefusedAnswer and UnknownAnswer
}

// AnswerKind is the kind of an Answer.
type AnswerKind uint8

const (
	// KeptAnswer: it is on the disks of a majority.
	KeptAnswer AnswerKind = iota + 1
	// NoViewAnswer: no subscription wanted it; the rule for direct messages applies.
	NoViewAnswer
	// RefusedAnswer: it is not kept, and known not to be.
	RefusedAnswer
	// UnknownAnswer: it may be kept or not, and won't be known in time. The publisher must not be told either.
	UnknownAnswer
)

func (k AnswerKind) String() string {
	switch k {
	case KeptAnswer:
		return "kept"
	case NoViewAnswer:
		return "no-view"
	case RefusedAnswer:
		return "refused"
	case UnknownAnswer:
		return "unknown"
	}
	return "answer-0"
}
