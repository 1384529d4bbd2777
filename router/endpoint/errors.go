package endpoint

import (
	"errors"

	"github.com/posthouse/posthouse/router/amqp"
)

// Errors of calls that were not possible. None of them is a mistake of a peer's.
var (
	// ErrGone: the link, session or connection is detached, ended or closed, or on its way there.
	ErrGone = errors.New("endpoint: link, session or connection is gone")
	// ErrNoCredit: the peer has not given credit for another delivery; wait for Handler.Credit.
	ErrNoCredit = errors.New("endpoint: no credit")
	// ErrTooLarge: the message is larger than the peer takes on this link.
	ErrTooLarge = errors.New("endpoint: message is larger than the peer's max-message-size")
	// ErrTag: the delivery-tag is longer than 32 bytes.
	ErrTag = errors.New("endpoint: delivery-tag is longer than 32 bytes")
	// ErrNameInUse: the session has a live link of this name and role.
	ErrNameInUse = errors.New("endpoint: link name is in use")
	// ErrLimit: no channel or handle is left.
	ErrLimit = errors.New("endpoint: no channel or handle is left")
)

// Errors that Run returns. Each is wrapped with what is known beside it.
var (
	// ErrHandshake: the peer did not get as far as its open: it speaks something else, or too slowly.
	ErrHandshake = errors.New("endpoint: handshake failed")
	// ErrAuthentication: SASL failed.
	ErrAuthentication = errors.New("endpoint: authentication failed")
	// ErrDropped: the socket ended without a close.
	ErrDropped = errors.New("endpoint: connection dropped")
)

// PeerError is returned by Run if the peer closed the connection with an error.
type PeerError struct{ Err *amqp.Error }

func (e *PeerError) Error() string { return "closed by peer: " + e.Err.Error() }

// Unwrap returns the peer's error.
func (e *PeerError) Unwrap() error { return e.Err }

// LocalError is returned by Run if we closed the connection with an error: for a mistake of the peer's, its silence, or
// because Conn.Close said so.
type LocalError struct{ Err *amqp.Error }

func (e *LocalError) Error() string { return "closed: " + e.Err.Error() }

// Unwrap returns our error.
func (e *LocalError) Unwrap() error { return e.Err }
