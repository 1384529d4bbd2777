package endpoint

// The rings of a connection: which sessions and links have something for the writer. All are guarded by the connection's lock. Being on a
// ring is only a hint: whoever takes a member off looks at its state, and finds perhaps that there is nothing to do.

// fifo is a queue that reuses its memory.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) push(v T) {
	if q.head > len(q.items)/2 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

func (q *fifo[T]) front() T { return q.items[q.head] }

func (q *fifo[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}

// dirtyLocked puts the session on the ring of those that owe frames other than transfers.
func (s *Session) dirtyLocked() {
	if !s.dirty {
		s.dirty = true
		s.conn.dirty.push(s)
	}
}

// dirtyLocked does the same for a link and its session.
func (l *link) dirtyLocked() {
	if !l.dirty {
		l.dirty = true
		l.session.dirtyLinks.push(l)
	}
	l.session.dirtyLocked()
}

// kickLocked puts a sender on the ready ring if it has something that may go out now.
func (s *Sender) kickLocked() {
	if s.ready || !s.sendableLocked() {
		return
	}
	if s.session.remoteWindow == 0 {
		if !s.blocked {
			s.blocked = true
			s.session.blocked = append(s.session.blocked, s)
		}
		return
	}
	s.ready = true
	s.session.conn.ready.push(s)
}

// sendableLocked tells whether there is a delivery, and credit or a beginning of it that was sent already.
func (s *Sender) sendableLocked() bool {
	return s.queue.len() > 0 && s.attachSent && !s.detachOwed && !s.detachSent &&
		(s.credit > 0 || s.queue.front().started)
}

// unblockLocked puts the senders that waited for the session window on the ready ring.
func (s *Session) unblockLocked() {
	if s.remoteWindow == 0 || len(s.blocked) == 0 {
		return
	}
	for i, snd := range s.blocked {
		snd.blocked = false
		snd.kickLocked()
		s.blocked[i] = nil
	}
	s.blocked = s.blocked[:0]
}
