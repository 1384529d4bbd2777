// Package agent is a router's half of the durable path, one per node. It hands captured publishes to the shards' leaders
// and brings back the answers, joins subscribers' links to their subscriptions wherever these are led, and knows
// which addresses are captured, as surely as the router's lease says.
//
// It owns the lanes, the capture table, the lease, and the router's end of each subscription. It knows what a message is
// no more than that it has an address and bytes; it does not know links, sockets, or what a shard holds.
//
// # Rules
//
//   - A publish gets its number when it is sent to a leader, never before, and keeps it. What is unanswered is kept, bytes
//     and all, and sent again in order to the next leader, which says first what is already in. So a change of leader
//     neither doubles, nor reorders, nor loses.
//   - What is in a lane is bounded by messages and bytes, whether it has a number yet or not. Beyond that, Admit withholds.
//   - The capture table is exchanged whole before its epoch is confirmed. So a publish that begins after the confirmation is
//     treated by it.
//   - The lease counts from before its renewal was sent, by a clock that also runs while the machine sleeps, and is looked
//     at anew for each publish: a router that was stopped lets nothing through on the strength of what it knew before.
//   - An outcome is kept, beyond the link's end too, until a leader says that it is committed.
//   - No consumer, receipt or OnChange function is called under a lock. One goroutine per shard makes the calls, so those to one
//     consumer come in order.
package agent
