package storage

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// Iter moves over keys in order. It starts nowhere: position it first. It belongs to one goroutine.
type Iter struct {
	s   *Store
	it  *pebble.Iterator
	buf []byte // prefix and sought key
}

func (s *Store) newIter(r pebble.Reader, group uint32, lower, upper []byte) *Iter {
	o := &pebble.IterOptions{LowerBound: stateKey(group, stateUser, lower)}
	if upper != nil {
		o.UpperBound = stateKey(group, stateUser, upper)
	} else {
		o.UpperBound = stateKey(group, stateEnd, nil)
	}
	it, err := r.NewIter(o)
	s.fail("state cannot be read", err)
	return &Iter{s: s, it: it, buf: stateKey(group, stateUser, nil)}
}

// First, Last, SeekGE, SeekLT, Next and Prev move and say whether there is a key. False means the end or an
// error: Close tells which.
func (it *Iter) First() bool            { return it.it.First() }
func (it *Iter) Last() bool             { return it.it.Last() }
func (it *Iter) SeekGE(key []byte) bool { return it.it.SeekGE(it.prefixed(key)) }
func (it *Iter) SeekLT(key []byte) bool { return it.it.SeekLT(it.prefixed(key)) }
func (it *Iter) Next() bool             { return it.it.Next() }
func (it *Iter) Prev() bool             { return it.it.Prev() }

func (it *Iter) prefixed(key []byte) []byte {
	it.buf = append(it.buf[:prefixLen], key...)
	return it.buf
}

// Valid says whether the iterator is on a key.
func (it *Iter) Valid() bool { return it.it.Valid() }

// Key and Value are valid until the next move.
func (it *Iter) Key() []byte   { return it.it.Key()[prefixLen:] }
func (it *Iter) Value() []byte { return it.it.Value() }

// Error is nil, or why the iteration stopped early. An unchecked one is silent loss.
func (it *Iter) Error() error { return it.it.Error() }

// Close releases the iterator and returns Error.
func (it *Iter) Close() error {
	err := it.it.Error()
	return errors.Join(err, it.it.Close())
}

// scan calls fn until it returns false, and closes the iterator. An iteration that stops early for an error
// ends the process: what it has not shown would be taken for not there.
func (it *Iter) scan(fn func(key, value []byte) bool) error {
	for ok := it.First(); ok; ok = it.Next() {
		if !fn(it.Key(), it.Value()) {
			break
		}
	}
	err := it.Close()
	it.s.fail("state cannot be read", err)
	return err
}
