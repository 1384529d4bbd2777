// Package peer holds what waypoints say to each other: the messages between a router's agent and the leaders of
// shards and of meta, the sessions that carry them in order, and requests with one answer.
//
// It knows how messages look and that they arrive in order or not at all. It does not know what they mean, who leads, what
// a shard holds, or how bytes reach another node: that is the Network's, which the router implements over its own
// connections and package peertest implements in memory.
//
// A body is one header and any number of messages, so that one turn's answers and deliveries go out together:
//
//	version u8 | kind u8 | group u32 | session u64 | seq u64 | { message kind u8 | length uvarint | fields }...
//
// # Sessions
//
// An agent opens a session to the leader of a group with Hello; the leader answers Welcome or NotLeader. Each side numbers
// its bodies (seq from 1); a jump, an unknown session or a broken path ends the session, and the agent opens
// another. So a session is a gapless prefix of what was sent, and both sides can count in absolute numbers. While a side
// has nothing to say it pings, with its last seq, so that a lost last body is seen, too.
//
// # Growing the format
//
// New fields go to the end of a message: decoders skip what follows the fields that they know. A message kind or a
// version that a decoder does not know ends the session; they may be used only when the cluster's feature level says
// that all nodes know them.
package peer
