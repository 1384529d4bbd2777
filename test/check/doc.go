// Package check is the one judge of all tests, whatever they break: publishers write down what they sent and what
// they were answered, subscribers what they were given, and the Ledger says what was lost, doubled or out of order.
//
// Lost means: accepted, and neither delivered nor inside a gap that the subscriber was told of. Messages that a node let pass a
// subscription by, because it was cut off when that was made, are told as an upper bound, and only that excuses them. The package knows
// nothing of AMQP, processes or clusters.
package check
