package leader

import (
	"errors"
	"sync"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// What one read brings at most: enough that a replay is not bound by the number of reads, little enough that many cursors
// may read at once.
const (
	readMessages    = 512
	readMessagesMin = 64
	readBytes       = 256 << 10
)

// reader reads messages beside the leader's goroutine, which therefore never waits for a disk to dispatch.
type reader struct {
	machine *shard.Machine
	wg      sync.WaitGroup

	mu     sync.Mutex
	some   sync.Cond
	jobs   []func(*shard.Machine)
	closed bool
}

// readers is the number of goroutines: a cold read must not hold up all others.
const readers = 2

func newReader(m *shard.Machine) *reader {
	d := &reader{machine: m}
	d.some.L = &d.mu
	for range readers {
		d.wg.Go(d.run)
	}
	return d
}

// do runs job on one of the reader's goroutines.
func (d *reader) do(job func(*shard.Machine)) {
	d.mu.Lock()
	d.jobs = append(d.jobs, job)
	d.mu.Unlock()
	d.some.Signal()
}

// close drops the jobs that wait and waits for those that run.
func (d *reader) close() {
	d.mu.Lock()
	d.closed = true
	d.jobs = nil
	d.mu.Unlock()
	d.some.Broadcast()
	d.wg.Wait()
}

func (d *reader) run() {
	for {
		d.mu.Lock()
		for len(d.jobs) == 0 && !d.closed {
			d.some.Wait()
		}
		if d.closed {
			d.mu.Unlock()
			return
		}
		job := d.jobs[0]
		d.jobs[0] = nil
		d.jobs = d.jobs[1:]
		d.mu.Unlock()
		job(d.machine)
	}
}

// readAhead has what a cursor sends next read from disk.
func (r *reign) readAhead(c *cursor) {
	if c.reading || c.inReads {
		return
	}
	if r.readBytes+readBytes > r.l.cfg.ReadBytes && r.readBytes > 0 {
		r.reclaim()
	}
	if r.readBytes+readBytes > r.l.cfg.ReadBytes && r.readBytes > 0 {
		c.inReads = true
		r.reads.push(c)
		return
	}
	r.startRead(c)
}

// reclaim takes back the memory of cursors that hold messages and can't send them now.
func (r *reign) reclaim() {
	for c := range r.buffered {
		if !c.queued {
			r.dropReads(c)
		}
	}
}

// prefetch has the next part of a replay read while this one is sent, if there is memory for it.
func (r *reign) prefetch(c *cursor) {
	if c.reading || c.inReads || c.scanned <= c.next || len(c.ahead) > readMessages/2 || c.scanned >= c.topic.head ||
		c.topic.recent.covers(c.scanned) || c.link.sent+uint64(len(c.ahead)) >= c.link.limit || r.readBytes+readBytes > r.l.cfg.ReadBytes {
		return
	}
	r.readNew(c)
}

func (r *reign) startRead(c *cursor) {
	if c.flight.in(waiting) > 0 {
		r.readWaiting(c)
	} else {
		r.readNew(c)
	}
}

// beginRead counts the memory of a read before it is known.
func (r *reign) beginRead(c *cursor) (id uint64) {
	c.reading = true
	c.readID++
	r.readBytes += readBytes
	return c.readID
}

// readWaiting reads messages that go out again.
func (r *reign) readWaiting(c *cursor) {
	id, topic := r.beginRead(c), c.topic.id
	seqs := make([]uint64, 0, min(readMessagesMin, c.flight.in(waiting)))
	c.flight.each(func(it *item) {
		if it.stage == waiting && len(seqs) < cap(seqs) {
			seqs = append(seqs, it.seq)
		}
	})
	r.l.reader.do(func(m *shard.Machine) {
		list, err := readSeqs(m, topic, seqs, true)
		r.post(func(r *reign) { r.readDone(c, id, err, func() { r.gotBack(c, seqs, list) }) })
	})
}

// readNew reads messages that were not sent in this generation, as many as there is credit for, and somewhat more.
func (r *reign) readNew(c *cursor) {
	id, sub := r.beginRead(c), c.sub
	from, head := max(c.next, c.scanned)+1, c.topic.head
	n := int(min(max(readMessagesMin, c.link.limit-min(c.link.sent, c.link.limit)), readMessages))
	r.l.reader.do(func(m *shard.Machine) {
		list, whole, err := readPending(m, sub, from, n)
		scanned := from - 1
		switch {
		case whole:
			scanned = head // whatever was there when the read began
		case len(list) > 0:
			scanned = list[len(list)-1].seq
		}
		r.post(func(r *reign) { r.readDone(c, id, err, func() { r.gotAhead(c, list, scanned) }) })
	})
}

// readDone ends a read; got takes what it brought, if it is still wanted.
func (r *reign) readDone(c *cursor, id uint64, err error, got func()) {
	r.readBytes -= readBytes
	switch {
	case c.readID != id:
	case err != nil:
		// Storage that fails ends the process; until then nobody is served from it.
		c.reading = false
		r.starved[c] = struct{}{} // asks again at the next tick
		r.l.log.Error("reading messages for dispatch failed", "subscription", c.name, "error", err)
	default:
		c.reading = false
		got()
		r.wake(c)
	}
	r.nextReads()
}

// gotAhead takes new messages: all that there are behind those that were read before, up to scanned.
func (r *reign) gotAhead(c *cursor, list []message, scanned uint64) {
	c.ahead = append(c.ahead, list...)
	c.scanned = max(c.scanned, scanned)
	r.holds(c, list)
}

// gotBack takes messages that go out again.
func (r *reign) gotBack(c *cursor, seqs []uint64, list []message) {
	for i := range c.back {
		r.consumed(c, &c.back[i])
	}
	c.back = list
	r.holds(c, list)
	found := 0
	for _, seq := range seqs {
		if found < len(list) && list[found].seq == seq {
			found++
			continue
		}
		if found == len(list) && found > 0 {
			return // the read was full
		}
		it := c.flight.find(seq)
		switch {
		case it == nil || it.stage != waiting:
		case r.m.IsSettled(c.sub, seq):
			c.flight.move(it, gone) // given up while it was read
		default:
			r.l.log.Error("a message of the backlog is not in storage", "subscription", c.name, "seq", seq)
			c.flight.move(it, parked)
		}
	}
}

// holds counts what was read for a cursor.
func (r *reign) holds(c *cursor, list []message) {
	for i := range list {
		n := int64(len(list[i].payload)) + hotOverhead
		c.buffered += n
		r.readBytes += n
	}
	if c.buffered > 0 {
		r.buffered[c] = struct{}{}
	}
}

// nextReads lets those read who waited for memory.
func (r *reign) nextReads() {
	free := r.l.cfg.ReadBytes - r.readBytes
	if r.readBytes == 0 {
		free = max(free, readBytes)
	}
	for r.reads.len() > 0 && free >= readBytes {
		c := r.reads.pop()
		c.inReads = false
		free -= readBytes
		r.wake(c) // it asks again, if it still has to
	}
}

// consumed frees what a message of a cursor took.
func (r *reign) consumed(c *cursor, m *message) {
	n := int64(len(m.payload)) + hotOverhead
	c.buffered -= n
	r.readBytes -= n
	if c.buffered == 0 {
		delete(r.buffered, c)
	}
}

// dropReads forgets what was read for a cursor, also what is being read.
func (r *reign) dropReads(c *cursor) {
	r.readBytes -= c.buffered
	c.buffered = 0
	delete(r.buffered, c)
	c.ahead, c.back, c.scanned = nil, nil, 0
	c.reading = false
	c.readID++
}

// readHeld reads the places of messages that a router holds, and the age of the oldest of the backlog, and goes on with
// heldRead.
func (r *reign) readHeld(c *cursor, k *link, seqs []uint64) {
	if backlog, ok := r.m.Backlog(c.sub); len(seqs) == 0 && (!ok || backlog.Messages == 0) {
		r.heldRead(c, k, nil, oldest{})
		return
	}
	sub, topic := c.sub, c.topic.id
	r.l.reader.do(func(m *shard.Machine) {
		list, err := readSeqs(m, topic, seqs, false)
		var old oldest
		if err == nil {
			old, err = readOldest(m, sub)
		}
		r.post(func(r *reign) {
			if err != nil {
				r.l.log.Error("reading what a link holds failed", "subscription", c.name, "error", err)
				r.reset(k.s, "storage failed")
				return
			}
			r.heldRead(c, k, list, old)
		})
	})
}

// oldest is when the oldest message of a backlog was kept.
type oldest struct {
	time int64
	is   bool
}

func readOldest(m *shard.Machine, sub uint64) (oldest, error) {
	msg, ok, err := m.Oldest(sub)
	return oldest{msg.Time, ok}, err
}

// readPending reads up to n messages of a backlog from a position on; whole says that there are no more.
func readPending(m *shard.Machine, sub, from uint64, n int) (list []message, whole bool, err error) {
	w, err := m.Pending(sub, from)
	if err != nil {
		return nil, false, err
	}
	var a arena
	for len(list) < n && a.bytes < readBytes {
		if !w.Next() {
			whole = true
			break
		}
		list = append(list, a.keep(w.Message()))
	}
	return list, whole, w.Close()
}

// readSeqs reads messages by their positions, which are in order. What is not there is left out. With payloads it may stop short of the last one.
func readSeqs(m *shard.Machine, topic uint64, seqs []uint64, payloads bool) (list []message, err error) {
	var a arena
	for _, seq := range seqs {
		if payloads && a.bytes >= readBytes {
			break
		}
		msg, err := m.Message(topic, seq)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !payloads {
			msg.Payload = nil
		}
		list = append(list, a.keep(msg))
	}
	return list, nil
}

// arena copies payloads into few pieces of memory.
type arena struct {
	chunk []byte
	bytes int
}

// Chunks grow with what is read, so that a few small messages don't hold a large piece of memory.
const (
	arenaChunkMin = 4 << 10
	arenaChunkMax = 64 << 10
)

func (a *arena) keep(m shard.Message) message {
	return message{seq: m.Seq, time: m.Time, before: m.Before, at: m.At, payload: a.copy(m.Payload)}
}

// copy returns a copy, which is never nil.
func (a *arena) copy(b []byte) []byte {
	if a.chunk == nil || cap(a.chunk)-len(a.chunk) < len(b) {
		a.chunk = make([]byte, 0, max(min(max(arenaChunkMin, a.bytes), arenaChunkMax), len(b)))
	}
	start := len(a.chunk)
	a.chunk = append(a.chunk, b...)
	a.bytes += len(b) + hotOverhead
	return a.chunk[start:len(a.chunk):len(a.chunk)]
}
