// Command mutate takes a guard away and shows that the test of the promise then fails: a test that can't fail shows
// nothing.
//
//	go run ./test/mutate             every mutation, some minutes
//	go run ./test/mutate -run lease  only those whose name contains the word
//	go run ./test/mutate -list
//
// The sources stay as they are: the changed files go to the go command as an overlay.
package main
