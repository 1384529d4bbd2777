// Package endpoint is the state of AMQP 1.0: connections, sessions and links, for the side that accepted the socket and for the side
// that dialled it, over any net.Conn.
//
// # What it owns
//
// Everything that part 2 and section 5.3 of the specification ask of a peer: protocol headers and SASL, open to close, channels,
// handles, windows, credit, drain, deliveries in one or many frames, settlement in both modes, idle time-outs, and an answer to
// every mistake of the peer's at the smallest scope that the specification allows.
//
// # What it does not know
//
// Addresses, users, routes, subscriptions. It never looks into a message. What a link is for, whether it is accepted, how much
// credit it gets and what becomes of a delivery is decided by a [Handler].
//
// # Goroutines and locks
//
// A connection has two goroutines, and none per session or link:
//
//	reader (Run)  read all that the socket has; lock; take in each whole frame; unlock; call the Handler
//	writer        wait; lock; turn what is owed into frames; unlock; write once; again until nothing is owed
//
// Each connection has one lock. It is never held while the Handler runs, while the socket is read or written, or while another
// connection is touched. So a Handler may call any method of any connection, session or link.
//
// Handler methods are called on the reader goroutine of their connection, one at a time, in the order in which the frames came.
// All methods of [Conn], [Session], [Sender] and [Receiver] may be called from any goroutine, and none of them blocks, except
// [Conn.Run]: they change the state, leave a mark for the writer and return.
//
// # State waits, frames don't
//
// Nothing but transfers is queued. That a flow, a disposition, a detach is owed is a mark in its link or session, and the writer
// makes the frame from the state of the moment: flows collapse into one, settlements merge into ranges. So a peer that floods us
// without reading our answers costs no memory beyond the limits in [Config] on its sessions and links. Transfers are queued by
// [Sender.Send], which takes no more than the peer has given credit for.
//
// # Bytes
//
// The payload of a message is a [Message]: reference counted, shared by all links that it goes out on, counted in a [Budget].
//
// # Reading of the specification
//
// A link that we detached with an error goes on swallowing transfers, flows and dispositions until the peer's detach, because they
// may have been under way. Only what can't have been ends the session with amqp:session:errant-link (2.6.5): a transfer
// that needed more of the session window than the peer had before it could read our detach, and an attach of the same link without its
// unsettled map.
//
// A flow for a handle that the peer has detached and not attached again is ignored. 2.7.4 has it end the session, with all
// other links in it; but the most used Go client may send one behind its detach, when what it has just settled gives it
// credit to tell of. A flow for a handle that never was attached ends the session as it should.
//
// A detach that crosses ours counts as its answer, whatever its closed flag; the re-attach that 2.6.6 asks for when a closing detach meets a
// non-closing one is not made, since it ends the session at the most used Go client.
//
// Deliveries that are unsettled when their link is detached, ended or lost are forgotten here: their owner is told, and may send
// them again as new ones (2.6.13 allows it). Unsettled maps of a peer are handed to the Handler; resumed deliveries that are not in our
// (empty) map are ignored, as 2.7.5 asks.
package endpoint
