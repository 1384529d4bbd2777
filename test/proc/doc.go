// Package proc runs whole clusters for tests: real posthouse processes on 127.0.0.1, each reaching each other
// through a proxy of its own that a test can cut, slow down or silence in one direction, and each under the test's
// hand: killed, stopped, continued, restarted, its disk made to fail.
//
// It knows the command line and the admin API, as an operator does, and nothing of what runs inside. Everything it
// starts ends with the test.
package proc
