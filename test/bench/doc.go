// Command bench measures Posthouse on this machine, beside the machine's own limits, in one run, and prints a table with
// ratios: a figure alone says little on a machine that others use.
//
//	go run ./test/bench                 everything, a few minutes
//	go run ./test/bench -run durable    only cases whose name contains the word
//	go run ./test/bench -run attach     how long a durable attach takes to be answered: a few fsyncs, not a lease
//	go run ./test/bench -format go      lines for benchstat
//	go run ./test/bench failover        how long publishing stops when a leader is killed, 30 times
//
// The load comes from the project's own engine in the dialling role, which takes less of the machine's two cores than
// other clients do. Everything (nodes, publishers, subscribers) runs on this machine.
package main
