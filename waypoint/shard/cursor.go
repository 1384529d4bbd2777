package shard

import (
	"cmp"
	"slices"

	"github.com/posthouse/posthouse/storage"
)

// cursor is a subscription's place in a topic. What is up to the floor, and what is in ranges, is settled: confirmed or
// given up. The rest up to the topic's head is the backlog.
type cursor struct {
	sub   uint64
	topic *topic
	owner string
	name  string

	limits  Limits
	start   Position
	gen     uint64
	holders []Holder

	floor     Position
	ranges    spans
	mark      uint64
	confirmed Totals
	givenUp   [Causes]Totals
	done      Totals // start + confirmed + all that was given up
	failed    []failed
	gap       gap

	place [orders]int // in the heaps, from 1 on; 0: not in
	key   [orders]uint64

	parked bool // in topic.parked, not in the heap of ages

	dirty        dirty
	listed       bool  // among the changed ones of the turn
	rangesBefore spans // as they are stored, while dirty
}

// failed counts the failed deliveries of an unsettled message.
type failed struct {
	seq   uint64
	count uint32
}

// dirty says which records of a cursor a command has changed.
type dirty uint8

const (
	dirtyCursor dirty = 1 << iota
	dirtyPlace
	dirtyGap
	dirtyRanges
)

// backlog is what is neither confirmed nor given up.
func (c *cursor) backlog() Totals { return c.topic.head.Totals.Sub(c.done) }

// settled says whether the message at seq is confirmed or given up.
func (c *cursor) settled(seq uint64) bool { return seq <= c.floor.Seq || c.ranges.holds(seq) }

// rest appends to buf what of r is not settled, in order. False means that r can't be right.
func (c *cursor) rest(r Range, buf []Range) ([]Range, bool) {
	head := c.topic.head
	if r.At == r.Before {
		return buf, true
	}
	if r.At == head.Totals {
		r.Through = head.Seq // its end may say more or less, but there is nothing behind
	}
	if !head.behind(r.end()) {
		return buf, false
	}
	if r.Through <= c.floor.Seq {
		return buf, true
	}
	if r.From <= c.floor.Seq {
		r.From, r.Before = c.floor.Seq+1, c.floor.Totals
	}
	if !r.begin().behind(c.floor) {
		return buf, false
	}
	return c.ranges.rest(r, buf)
}

// settle takes a range that rest gave out as confirmed (cause zero) or given up.
func (c *cursor) settle(r Range, cause Cause, index uint64) {
	t := r.Totals()
	if cause == 0 {
		c.confirmed = c.confirmed.Add(t)
	} else {
		c.givenUp[cause] = c.givenUp[cause].Add(t)
		if cause.Told() {
			c.gap = c.gap.grow(index, c.topic.id, r, cause)
			c.dirty |= dirtyGap
		}
	}
	c.done = c.done.Add(t)
	c.dirty |= dirtyPlace
	if r.Before.Messages == c.floor.Totals.Messages {
		c.raiseFloor(Position{Seq: r.Through, Totals: r.At})
		return
	}
	c.touchRanges()
	c.ranges = c.ranges.add(r, cause)
}

// raiseFloor moves the floor to pos, and over the ranges that touch it there. With nothing behind, pos is the topic's
// head: rest ends ranges there.
func (c *cursor) raiseFloor(pos Position) {
	if len(c.ranges) > 0 && c.ranges[0].Before.Messages == pos.Totals.Messages {
		c.touchRanges()
		c.ranges, pos = c.ranges.absorb(pos)
	}
	c.floor = pos
}

// touchRanges remembers the ranges as they are stored, before the first change by a command.
func (c *cursor) touchRanges() {
	if c.dirty&dirtyRanges == 0 {
		c.dirty |= dirtyRanges
		c.rangesBefore = append(c.rangesBefore[:0], c.ranges...)
	}
}

// fail sets a message's number of failed deliveries, if it is higher than before.
func (c *cursor) fail(seq uint64, count uint32) bool {
	i, found := c.findFailed(seq)
	switch {
	case !found:
		c.failed = slices.Insert(c.failed, i, failed{seq, count})
	case c.failed[i].count >= count:
		return false
	default:
		c.failed[i].count = count
	}
	return true
}

func (c *cursor) findFailed(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(c.failed, seq, func(f failed, seq uint64) int { return cmp.Compare(f.seq, seq) })
}

// forgetFailed drops the counts of what is settled now, calling fn for each.
func (c *cursor) forgetFailed(fn func(seq uint64)) {
	c.failed = slices.DeleteFunc(c.failed, func(f failed) bool {
		if !c.settled(f.seq) {
			return false
		}
		fn(f.seq)
		return true
	})
}

func (c *cursor) cursorRecord() storage.CursorRecord {
	r := storage.CursorRecord{Topic: c.topic.id, Owner: c.owner, Name: c.name, Limits: c.limits, StartSeq: c.start.Seq,
		Start: c.start.Totals, Gen: c.gen}
	for _, h := range c.holders {
		r.Holders = append(r.Holders, storage.HolderRecord(h))
	}
	return r
}

func (c *cursor) placeRecord() storage.PlaceRecord {
	return storage.PlaceRecord{FloorSeq: c.floor.Seq, Floor: c.floor.Totals, Mark: c.mark, Confirmed: c.confirmed,
		GivenUp: c.givenUp}
}
