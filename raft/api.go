package raft

import (
	"time"

	"github.com/posthouse/posthouse/storage"
)

// Entry is one command as a state machine sees it.
type Entry struct {
	Index uint64
	Term  uint64
	// Time is the group's clock in Unix milliseconds: never lower than in the entry before, and at most what a majority
	// of the replicas' own clocks have reached.
	Time int64
	// Data is valid until Apply returns, and must not be changed.
	Data []byte
}

// StateMachine is what a group's commands are applied to. Its methods are called one at a time, on one goroutine of
// the group (before Node.Group returns, on the caller's). State keys that begin with a zero byte are this package's.
type StateMachine interface {
	// Apply is called for each command that fits, in the order of the log, on every replica alike. It writes into b
	// alone, and must depend on nothing but what was applied before and e. The result goes to the proposer. A command may be
	// applied again after a restart, to the state of then.
	Apply(b *storage.Batch, e Entry) any

	// Applied is called when the batch of the entry at index has been committed: readers see it, and it is on a
	// majority of disks in the log. It also reports indexes that carry no command of ours (void ones, configurations).
	Applied(index uint64)

	// Restore is called once before anything is applied, and again when the state was replaced as a whole: what is
	// kept in memory must be read again from storage.
	Restore() error
}

// Leadership is what a replica knows of its group's leader.
type Leadership struct {
	// Leader says that this replica leads and is ready: it has applied everything that was committed before its turn.
	Leader bool
	// Term is the current Raft term.
	Term uint64
	// Turn names the period that commands may be proposed in; 0 if not Leader. A turn ends with the leadership, and also
	// when a command of it was refused by Raft: then whoever builds commands upon commands must begin again from what is
	// applied. It is unique in this process and grows.
	Turn uint64
	// LeaderNode is the name of the node that leads, if known: of this one already before it is ready.
	LeaderNode string
}

// Member is one replica of a group, by the group's latest configuration.
type Member struct {
	Replica string // server id: node name, data directory and life; never used twice
	Node    string
	Voter   bool
	Self    bool
}

// Report is what a replica has last told this node over the control stream.
type Report struct {
	Member
	At        time.Time // when it was heard; zero if never
	Live      bool      // heard lately, at the configured address, as this very replica
	Clock     time.Time // its own wall clock when it answered
	DiskFree  int64
	DiskTotal int64
	DiskLevel storage.SpaceLevel
	Applied   uint64
	LastIndex uint64 // of its log
}

// Status describes a group on this node, for people and metrics.
type Status struct {
	Leadership
	State         string // "leader", "follower", "candidate", "waiting" (for the cluster to form), "damaged" (its log; waits to be seeded again), "removed", "failed", "closed"
	Replica       string
	LastIndex     uint64
	CommitIndex   uint64
	Applied       uint64
	FirstIndex    uint64
	LogBytes      int64
	SnapshotIndex uint64
	Proposals     int // waiting and in flight
	ProposalBytes int
	Cut           bool  // the watchdog has cut this group's streams
	Installed     int64 // states taken from a leader and put in place, since the group was opened
	Snapshots     int64 // snapshot records written since then
}
