package peer

import (
	"errors"
	"fmt"
)

// Why a session ended, or a call failed.
var (
	ErrNoPath    = errors.New("no path to the node")
	ErrMoved     = errors.New("the leader is another node now")
	ErrSilent    = errors.New("the other side is silent")
	ErrGap       = errors.New("a body was lost")
	ErrReset     = errors.New("the other side reset the session")
	ErrMalformed = errors.New("malformed body")
	ErrOldTerm   = errors.New("the leader's term is an old one")
	ErrReplaced  = errors.New("the other side opened another session")
	ErrClosed    = errors.New("closed")
	ErrNoLeader  = errors.New("no leader is known")
)

// Error refuses a request for good. It travels in a response.
type Error struct {
	Condition   string            `json:"condition"` // AMQP error condition
	Description string            `json:"description,omitempty"`
	Info        map[string]string `json:"info,omitempty"`
}

func (e *Error) Error() string {
	if e.Description == "" {
		return e.Condition
	}
	return e.Condition + ": " + e.Description
}

// Errorf makes an Error.
func Errorf(condition, format string, args ...any) *Error {
	return &Error{Condition: condition, Description: fmt.Sprintf(format, args...)}
}

// NotLeaderError is the error of a request to a node that does not lead the group (any more). Leader may be empty. The request had no effect.
type NotLeaderError struct {
	Leader string
}

func (e *NotLeaderError) Error() string {
	if e.Leader == "" {
		return "not the leader"
	}
	return "not the leader: ask " + e.Leader
}

// UnavailableError is any other failure of the node asked: whether the request had an effect is not known. Ask again.
type UnavailableError struct {
	Text string
}

func (e *UnavailableError) Error() string { return e.Text }
