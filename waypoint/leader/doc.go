// Package leader is what only a shard's leader does: it gathers what has come in into one command a turn, has it
// replicated, and only then answers publishers, settles outcomes and dispatches messages to the routers where their
// subscribers are. It keeps the limits of subscriptions, tells gaps until they are heard, and deletes what nobody needs.
//
// It owns the turn, the answers to lanes, the links of subscriptions, what is in flight and in which order it goes out.
// It does not know how state is stored or applied (waypoint/shard), how a command gets a majority (raft), how
// messages travel (waypoint/peer), or anything of AMQP but the conditions that it names.
//
// A Leader exists on every replica and sleeps until its replica leads. Everything that it knows while it leads is a
// reign: made anew from what is applied when a turn of leadership begins, thrown away when it ends. So nothing that an
// earlier leader decided, or that this one decided and did not get through, is ever built upon.
//
// # Rules
//
//   - One command is in flight at a time, and whatever looks at totals, floors or limits is decided between two commands,
//     on the applied state.
//   - Nothing is answered or sent out on the strength of a command that is not applied.
//   - Time is the group's (Proposer.Now); the node's own clock only says when to look.
//   - Nothing is read from disk under the machine's lock, and on the leader's own goroutine only what a decision
//     needs; what is dispatched from disk is read by others.
package leader
