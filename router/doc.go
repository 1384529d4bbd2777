// Package router is one router: it takes messages from publishers' links and hands each, at once, to every direct
// subscriber of its address, here and at the other nodes, and, where a durable subscription needs it, to the store
// that keeps it. It owns listeners, the connections to the other nodes, addresses, credit and outcomes.
//
// It does not know how messages are kept: Store is the small interface that it needs of a memory. It does not know
// the protocol's bytes and states: those are router/amqp's and router/endpoint's.
package router
