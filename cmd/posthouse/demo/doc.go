// Package demo shows, in under a minute and with nothing but this binary, what Posthouse is for: three nodes, a subscriber
// that is away, a leader that is killed, and every accepted message delivered exactly once and in order.
//
// It is a user of Posthouse: it starts nodes as child processes, speaks AMQP to them with go-amqp, and asks their API.
package demo
