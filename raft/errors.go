package raft

import "errors"

// What a proposer learns. ErrNotLeader, ErrOverloaded and ErrVoid are definite: the command is not applied and never
// will be. ErrUnknown is not: it may be applied, now or later. Errors are matched with errors.Is.
var (
	// ErrNotLeader: this replica does not lead, or the turn named is over. The command was not proposed.
	ErrNotLeader = errors.New("not the leader")

	// ErrOverloaded: too many bytes or commands wait already. The command was not proposed, and the turn goes on.
	ErrOverloaded = errors.New("too many proposals are waiting")

	// ErrVoid: the command does not follow the one that it was built upon, because that one was refused or the term has
	// changed. It is not applied on any replica. The turn is over: rebuild from what is applied.
	ErrVoid = errors.New("command is void")

	// ErrUnknown: the command may be in the log or not. Whoever leads after a Ready knows.
	ErrUnknown = errors.New("outcome of the command is unknown")

	// ErrClosed: the group or node was closed. For a command that was proposed before, the outcome is unknown and
	// errors.Is(err, ErrUnknown) holds too.
	ErrClosed = errors.New("raft is closed")

	// ErrRemoved: this replica was removed from the group, or another one has taken its name. It takes no part any
	// more; its directory may be set aside.
	ErrRemoved = errors.New("this replica was removed")

	// ErrNotMember: there is no such member, or it cannot do what is asked of it.
	ErrNotMember = errors.New("no such member")

	// ErrTimeout: it took too long; it may still happen.
	ErrTimeout = errors.New("timed out")

	// ErrContradiction: what is on the disk contradicts itself, so that this replica must not start.
	ErrContradiction = errors.New("the disk contradicts itself")
)
