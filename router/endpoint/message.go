package endpoint

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Message is the payload of a delivery, shared by everybody who needs its bytes, and counted in the Budget of the connection that it came
// from until the last of them releases it. Its bytes must not be changed. All methods may be called from any goroutine.
type Message struct {
	refs   atomic.Int32
	data   []byte
	own    []byte // memory of the pool, all of it; nil if data lies elsewhere
	chunk  *chunk // what data is a slice of; nil if none
	budget *Budget
	charge int64
	owner  Releaser // of bytes that were lent
}

// Releaser is told when the last reference to bytes that it has lent is given back. Release is called once, on any goroutine, perhaps with
// a connection's lock held: it must neither block nor touch a connection.
type Releaser interface{ Release() }

// NewMessage makes a Message of bytes that were born in this node. It takes over payload, counts it in budget (nil: nowhere),
// and returns it with one reference, which is the caller's.
func NewMessage(payload []byte, budget *Budget) *Message {
	m := &Message{data: payload, budget: budget, charge: int64(cap(payload))}
	m.refs.Store(1)
	budget.Take(m.charge)
	return m
}

// LendMessage makes a Message of bytes that stay their owner's: they are counted in no Budget, and the owner is told when the engine and
// all others are done with them.
func LendMessage(payload []byte, owner Releaser) *Message {
	m := &Message{data: payload, owner: owner}
	m.refs.Store(1)
	return m
}

// Bytes is the payload: valid while the caller has a reference.
func (m *Message) Bytes() []byte { return m.data }

// Retain adds a reference and returns m.
func (m *Message) Retain() *Message {
	m.refs.Add(1)
	return m
}

// Release gives one reference back. After the last the memory is used for something else.
func (m *Message) Release() { m.releaseN(1) }

func (m *Message) releaseN(n int32) {
	left := m.refs.Add(-n)
	if left > 0 {
		return
	}
	if left < 0 {
		panic("endpoint: Message released more often than retained")
	}
	m.budget.Give(m.charge)
	m.data, m.budget, m.charge = nil, nil, 0
	if m.owner != nil {
		m.owner.Release()
		m.owner = nil
	}
	if m.chunk != nil {
		m.chunk.release()
		m.chunk = nil
	}
	if class, ok := poolClass(cap(m.own)); ok && m.own != nil && cap(m.own) == 1<<class {
		messagePools[class-minClass].Put(m)
	}
}

// The pools keep messages together with memory of a power of two, so that a small message costs one look into a pool. Larger than
// maxClass is left to the garbage collector.
const (
	minClass = 8  // 256 B
	maxClass = 20 // 1 MiB
)

var messagePools [maxClass - minClass + 1]sync.Pool

// poolClass is the power of two that size fits in.
func poolClass(size int) (class int, ok bool) {
	class = minClass
	if size > 1<<minClass {
		class = bits.Len(uint(size - 1))
	}
	return class, class <= maxClass
}

// allocMessage returns a message of length 0 with room for size bytes, one reference, and its memory counted.
func allocMessage(size int, budget *Budget) *Message {
	var m *Message
	if class, ok := poolClass(size); ok {
		if m, _ = messagePools[class-minClass].Get().(*Message); m == nil {
			m = &Message{own: make([]byte, 1<<class)}
		}
	} else {
		m = &Message{own: make([]byte, size)}
	}
	m.data = m.own[:0]
	m.budget, m.charge = budget, int64(cap(m.own))
	m.refs.Store(1)
	budget.Take(m.charge)
	return m
}

// copyMessage returns a message with a copy of payload.
func copyMessage(payload []byte, budget *Budget) *Message {
	m := allocMessage(len(payload), budget)
	m.data = append(m.data, payload...)
	return m
}

// sliceMessage returns a message whose bytes stay in the chunk that they were read into.
func sliceMessage(payload []byte, ch *chunk, budget *Budget) *Message {
	ch.retain()
	m := &Message{data: payload, chunk: ch, budget: budget, charge: int64(len(payload))}
	m.refs.Store(1)
	budget.Take(m.charge)
	return m
}

// extend appends to a message that nobody else knows yet, and returns it or its larger successor. The memory at most doubles, and
// not beyond most: bytes that have come in pay for it, never a length that the peer claims.
func (m *Message) extend(payload []byte, most uint64) *Message {
	need := len(m.data) + len(payload)
	if need <= cap(m.own) {
		m.data = append(m.data, payload...)
		return m
	}
	size := max(2*cap(m.own), need)
	if _, pooled := poolClass(size); !pooled && uint64(size) > most {
		size = max(int(most), need)
	}
	big := allocMessage(size, m.budget)
	big.data = append(append(big.data, m.data...), payload...)
	m.Release()
	return big
}

// chunk is memory that a reader reads into. Messages that fill a good part of it are not copied out but hold on to it;
// the reader then goes on in another.
type chunk struct {
	refs atomic.Int32
	b    []byte
}

const (
	smallChunk = 4 << 10
	largeChunk = 64 << 10
	// sliceFrom is the payload size from which a message stays in its chunk: so it never holds more than four times its size.
	sliceFrom = largeChunk / 4
)

var smallChunks, largeChunks sync.Pool

func newChunk(size int) *chunk {
	var ch *chunk
	switch {
	case size <= smallChunk:
		if ch, _ = smallChunks.Get().(*chunk); ch == nil {
			ch = &chunk{b: make([]byte, smallChunk)}
		}
	case size <= largeChunk:
		if ch, _ = largeChunks.Get().(*chunk); ch == nil {
			ch = &chunk{b: make([]byte, largeChunk)}
		}
	default:
		ch = &chunk{b: make([]byte, size)}
	}
	ch.refs.Store(1)
	return ch
}

func (ch *chunk) retain() { ch.refs.Add(1) }

func (ch *chunk) release() {
	if ch.refs.Add(-1) > 0 {
		return
	}
	switch len(ch.b) {
	case smallChunk:
		smallChunks.Put(ch)
	case largeChunk:
		largeChunks.Put(ch)
	}
}

// shared tells whether messages hold on to the chunk. Only the reader, who has a reference, may ask: false stays false.
func (ch *chunk) shared() bool { return ch.refs.Load() > 1 }
