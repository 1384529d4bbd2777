package leader

import "sync"

// mailbox is what has come in for the leader's goroutine and waits for it. Its length is bounded by those who put: sessions by
// their windows (and Config.InboxBytes), reads by their budget, everything else by being one of a kind.
type mailbox struct {
	ready chan struct{} // holds one token while there may be something

	mu     sync.Mutex
	list   []func()
	closed bool
}

func newMailbox() *mailbox { return &mailbox{ready: make(chan struct{}, 1)} }

// put adds f, to be called on the leader's goroutine; false if there is none any more, and f will never be called.
func (b *mailbox) put(f func()) bool {
	b.mu.Lock()
	closed := b.closed
	if !closed {
		b.list = append(b.list, f)
	}
	b.mu.Unlock()
	if closed {
		return false
	}
	select {
	case b.ready <- struct{}{}:
	default:
	}
	return true
}

// take returns what has come in, in order. It reuses the memory of an earlier one, whose functions have been called.
func (b *mailbox) take(used []func()) []func() {
	clear(used)
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.list
	b.list = used[:0]
	return list
}

// close refuses whatever comes later and returns what still waits.
func (b *mailbox) close() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	list := b.list
	b.list = nil
	return list
}
