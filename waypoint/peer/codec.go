package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var (
	errShort = errors.New("ends too early")
	errLong  = errors.New("a count is above what follows")
)

func appendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendString(b []byte, s string) []byte {
	return append(appendUint(b, uint64(len(s))), s...)
}

func appendBytes(b, s []byte) []byte {
	return append(appendUint(b, uint64(len(s))), s...)
}

// reader reads fields; after the first error all are zero.
type reader struct {
	b   []byte
	err error
	// last is the string read last: publishes and deliveries in a row often have the same address.
	last string
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if len(r.b) < 1 {
		r.fail(errShort)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) bool() bool { return r.byte() != 0 }

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) uint32() uint32 {
	v := r.uint()
	if v > 1<<32-1 {
		r.fail(fmt.Errorf("%d is above 32 bits", v))
		return 0
	}
	return uint32(v)
}

// bytes are a part of the body, not a copy.
func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	if n == 0 {
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string {
	v := r.bytes()
	if string(v) != r.last {
		r.last = string(v)
	}
	return r.last
}

// count reads how many items follow, each of which takes at least size bytes, so that a claimed count never allocates more than a
// multiple of what is there.
func (r *reader) count(size int) int {
	n := r.uint()
	if n > uint64(len(r.b)/size) {
		r.fail(errLong)
		return 0
	}
	return int(n)
}

// readList reads a count and so many items, of at least size bytes each.
func readList[T any](r *reader, size int, item func(*T)) []T {
	n := r.count(size)
	if n == 0 {
		return nil
	}
	list := make([]T, n)
	for i := range list {
		item(&list[i])
	}
	if r.err != nil {
		return nil
	}
	return list
}

func appendList[T any](b []byte, list []T, item func([]byte, *T) []byte) []byte {
	b = appendUint(b, uint64(len(list)))
	for i := range list {
		b = item(b, &list[i])
	}
	return b
}
