// Package sim runs whole Raft clusters in one process: three nodes on a network in memory, file systems in memory that lose
// power, and clocks that can be set wrong. A simple state machine logs what it applies; the checks want that nothing
// acknowledged is lost, and that all replicas' logs and states are equal.
//
// Tests of the durable path build on the Cluster here; it has no tests of messages itself.
package sim
