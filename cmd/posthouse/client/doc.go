// Package client is the little that the command line, the demo and the tests add to go-amqp: a publisher that keeps a
// window of messages on their way and tells accepted, refused and unknown apart, and a durable subscriber that
// leaves without deleting.
//
// It is an ordinary AMQP 1.0 client: nothing in it is known only to Posthouse's own nodes.
package client
