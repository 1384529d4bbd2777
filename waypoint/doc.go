// Package waypoint is one node's memory: its replicas of meta and of the shards, their leaders while they lead here, and
// the agent through which the node's router reaches whoever leads elsewhere.
//
// It only puts these together, opens and closes them in the right order, and answers for all of them to operators.
// DESIGN.md has the picture.
package waypoint
