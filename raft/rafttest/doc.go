// Package rafttest has what tests of clusters in one process need: a network in memory whose links can be cut one way,
// delayed and healed, and wall clocks that can be set wrong.
package rafttest
