// Package actor is who plays in the tests of whole clusters: publishers, durable subscribers and direct receivers.
// They are ordinary go-amqp clients, each on a connection of its own to one node, and write all that they send, learn and
// get into a check.Ledger.
//
// A Story is one test's cast. Whatever a test did not announce, such as a link that ends, a publish that is
// refused, a body that is not what was sent, fails it in Story.End, as does every broken promise that the ledger knows of.
package actor
