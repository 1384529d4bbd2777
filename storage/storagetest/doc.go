// Package storagetest is for tests of everything that keeps something: a file system in memory that loses power,
// faults by class of file, room that runs out, crash points, and damage. Nothing of it is in a normal build.
package storagetest
