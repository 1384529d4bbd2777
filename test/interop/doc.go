// Package interop holds tests with clients that others have written, against a real cluster of three nodes: Proton
// Python, Proton C++ and go-amqp, with their plain defaults.
//
// Each client is a peer: testdata/peer.py, testdata/peer.cpp and a go-amqp client in the test process take the same
// commands and tell the same events, so that one test is written once and played with each library. Whatever a test did
// not ask for, such as a link that ends, a connection that is lost or an error that a library logs, fails it.
package interop
