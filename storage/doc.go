// Package storage keeps every durable byte of a node: the logs, terms and votes of all Raft groups in one
// synced database, the replicated state of all groups in a second one, and a few small files beside them.
//
// It owns the data directory, its identity, the two databases (it is the only importer of pebble), free
// space, and what happens when a disk fails: a full disk is waited for, a failed or corrupt one ends the
// process through Config.Fatal. It knows nothing of Raft's rules and nothing of AMQP: entries and keys are
// bytes to it.
//
// The errors that a caller has to tell apart are in errors.go. Every other error of a Log or a State is
// final: the Store has failed, Config.Fatal has been called, and all later calls return the same error.
package storage
