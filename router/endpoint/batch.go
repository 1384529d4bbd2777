package endpoint

// Batch holds back the waking of writers while one goroutine does many things: a writer that is woken for each of a hundred messages
// makes a hundred small writes. Methods that take a *Batch do their work at once; only the writer sleeps on until Flush. A nil
// Batch wakes it at once.
//
// A Batch belongs to one goroutine. Inside a Handler method use [Conn.Batch] of the connection that called it, which the engine
// flushes; elsewhere declare one and Flush it soon, and always: connections wait for it.
type Batch struct {
	conns []*Conn
}

// Flush wakes the writers of all connections that the batch has touched. It does not block.
func (b *Batch) Flush() {
	for i, c := range b.conns {
		c.mu.Lock()
		c.deferred = false
		c.wakeLocked()
		c.mu.Unlock()
		b.conns[i] = nil
	}
	b.conns = b.conns[:0]
}

// Batch is the batch of the reader goroutine: to be used only inside Handler methods that this connection calls.
func (c *Conn) Batch() *Batch { return &c.batch }

// owedLocked notes that the writer has something to do, now or at the end of the batch.
func (c *Conn) owedLocked(b *Batch) {
	switch {
	case !c.parked: // it looks again before it parks
	case b == nil:
		c.wakeLocked()
	case !c.deferred:
		c.deferred = true
		b.conns = append(b.conns, c)
	}
}

// wakeLocked wakes the writer if it sleeps.
func (c *Conn) wakeLocked() {
	if c.parked {
		c.parked = false
		c.wake <- struct{}{} // never blocks: one place, one sleeper
	}
}
