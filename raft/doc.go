// Package raft replicates commands. A Node takes part in many Raft groups over one listener; each Group orders
// the commands of one StateMachine, keeps them on a majority of the replicas' disks and applies them on all.
//
// It owns what lies between a command and its application: who leads, the envelope that makes a command fit or
// void, the time in the entry, back-pressure, snapshots and truncation by bytes, the transfer of a whole shard to
// a replica that is too far behind, membership (a replica is its data directory), the spreading of leaders, and
// the watchdog over a disk that hangs. It is the only importer of hashicorp/raft, whose types never leave it.
//
// It knows nothing of AMQP and nothing of what the commands mean; bytes on disk are storage's.
// The invariants, formats and the reasons are in DESIGN.md beside this file.
package raft
