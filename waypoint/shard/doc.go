// Package shard is a shard's replicated state: the topics with their messages, the cursors of durable
// subscriptions, and the routers' lanes, changed by nothing but commands, on every replica alike.
//
// It owns the commands (Command, its encoding), what they do (Machine.Apply), what is kept of it in memory
// (everything but the messages), and how it is read. It does not know who leads, who is connected, or what time
// it is; it decides nothing that the leader could decide (what is kept or refused, what a limit gives up).
//
// # Apply
//
// Apply reads memory and the command, and nothing else: no clock, no chance, no map's order, and no storage, so
// that several commands may share a batch. A command's facts (a range's totals, say) were read by the leader. Apply
// compares them with what it knows beside them, since a wrong one would stay for ever; a part that can't be right is
// left out on all replicas alike, and told as a Fault. A part that merely comes too late (the message is settled, the link
// is an older one, the number is in already) does nothing. A command of a newer version ends the process: leaving it out would
// make this replica another than the others.
//
// # Settling
//
// What is confirmed, and what is given up for which cause, is counted once, by whoever comes first. Ranges that
// overlap what is settled count only the rest, whose totals are known from the neighbours. At every index, for each cursor,
// confirmed + given up + backlog = captured, in messages and bytes: Machine.Check counts the backlog by places and compares.
//
// # Deleting
//
// A Trim never deletes what a cursor needs: what lies above the lowest floor is cut to what all cursors have settled.
// At a topic's old end its tail moves. Inside, a hole remains: a record with its ends and totals, by which positions behind it
// keep their totals; it goes when the tail comes to it. The totals of a topic survive its messages, and end with its
// last cursor; an address's next topic has another id and begins at zero.
//
// # What is written
//
// A publish writes its message, and its command once the lane and the header: no topic, no cursor, however many there are.
// An in-order confirmation writes one small record a cursor. Where a topic ends is read from its last message (or hole, or
// tail) by Restore. Limits are thresholds on the topic's totals, in heaps: looking for what overflows looks at the top.
//
// # Room for what comes later
//
// Commands, and all records but messages, have a version and features: a feature that is not known is refused, so a new field
// is written only once all replicas know it, and is never lost. A message's record has flags for a payload that lies
// elsewhere or in parts. A cursor has a list of holders, for subscriptions with several links. Ranges of a gap name their
// topic, for cursors over several. Views with a filter need a new kind of key and a feature of the cursor's record.
package shard
