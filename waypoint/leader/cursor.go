package leader

import (
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// cursor is what a reign knows of a subscription's cursor beyond its state: what is in flight, and where dispatch is.
// There is one for each subscription that somebody attached to in this reign.
//
// At any time every message of the backlog at or below next is in flight (or waiting, or parked: it is an item), and what is
// above next is not, but for what an earlier leader's link still held.
type cursor struct {
	sub    uint64
	name   string
	topic  *topic
	limits shard.Limits

	gen    uint64       // the newest generation that is applied
	holder shard.Holder // ... and who has it
	link   *link        // the one that gets deliveries, nil if there is none

	resumed bool // what its router holds is known

	flight flight
	failed int    // items that go out again when their failure is committed
	next   uint64 // dispatch has looked at everything up to here
	seen   uint64 // positions up to here may have been seen by somebody before this link
	high   uint64 // the highest one handed out in this reign
	older  uint64 // what was settled before this reign lies at or below

	mark    uint64 // positions up to here may be handed out
	want    uint64 // a higher mark is asked for in the next turn
	reserve uint64 // how far ahead

	gap  uint64 // the version of the gap that is not heard of, 0 if there is none
	told uint64 // the one that a delivery has carried

	ahead    []message // read from disk: new ones, in order
	back     []message // ... and waiting ones
	scanned  uint64    // ahead has everything from next up to here
	buffered int64     // their bytes
	reading  bool      // a read is under way
	readID   uint64    // the latest read; others come too late
	inReads  bool      // in reign.reads

	evicting bool // the command in flight gives up some of it: nothing goes out until it is applied
	queued   bool // in reign.ready
	atTail   bool // in topic.tail
	stalled  bool // in session.stalled
	settling bool // in reign.settling
	marking  bool // in reign.marking
}

// maxInFlight bounds what the subscriber may hold.
func (c *cursor) maxInFlight() int { return maxInFlight(c.limits) }

// maxItems bounds the items, and so the settled ranges above the floor: each of them has an item before it.
func (c *cursor) maxItems() int { return 2 * c.maxInFlight() }

// linkState is how far a link is.
type linkState uint8

const (
	asked    linkState = iota // it waits for a turn, or its generation is not applied yet
	loading                   // what it holds is looked up
	attached                  // it gets deliveries
	leaving                   // it gets no more
	over
)

// linkKey names a link in its session.
type linkKey struct{ sub, gen uint64 }

// link is a subscription's link at one router, in one session.
type link struct {
	s     *session
	c     *cursor // nil while asked
	sub   uint64
	gen   uint64
	name  string
	state linkState

	limit uint64 // deliveries that may be made
	sent  uint64 // ... and that were, or were drained
	drain bool

	held   []peer.Held     // what its router said to hold
	silent bool            // its router did not attach it, but has something to say about its generation: no deliveries
	queue  []*peer.Outcome // came before it was attached
	leaves bool            // so did Leave

	told   peer.SubState // what its router was last told about the subscription
	toldAt time.Time
	asking bool // its state is being read
}

// cursor returns the record of a subscription's cursor, made from the state if need be; nil if it has none.
func (r *reign) cursor(sub uint64) *cursor {
	if c := r.cursors[sub]; c != nil {
		return c
	}
	cur, ok := r.m.Cursor(sub)
	if !ok {
		return nil
	}
	t := r.topic(cur.Address)
	if t == nil {
		return nil
	}
	c := &cursor{sub: sub, topic: t}
	r.load(c, cur)
	// What was handed out by leaders before this one lies below the mark, and below what there was then: the mark is
	// reserved ahead.
	c.seen = min(cur.Mark, r.last)
	r.cursors[sub] = c
	return c
}

// load takes over what the state says of a cursor, and begins dispatch at its floor.
func (r *reign) load(c *cursor, cur shard.Cursor) {
	c.name, c.limits = cur.Name, cur.Limits
	c.gen, c.mark, c.gap, c.told = cur.Gen, cur.Mark, cur.Gap.Version, 0
	c.holder = shard.Holder{}
	for _, h := range cur.Holders {
		if h.Gen == cur.Gen {
			c.holder = h
		}
	}
	c.next, c.older = cur.Floor.Seq, cur.Floor.Seq
	if ranges := r.m.Ranges(c.sub); len(ranges) > 0 {
		c.older = ranges[len(ranges)-1].Through
	}
	c.reserve, c.want = minReserve, 0
	c.flight.reset()
	c.failed = 0
	r.dropReads(c)
}

// unlink ends a link without a word. What its router holds stays in flight.
func (r *reign) unlink(k *link) {
	if k.state == over {
		return
	}
	k.state = over
	delete(k.s.links, linkKey{k.sub, k.gen})
	if c := k.c; c != nil && c.link == k {
		c.link = nil
		c.stalled = false
		c.topic.links--
		r.attachedNow--
		r.dropReads(c)
	}
}

// finish ends a link and says why.
func (r *reign) finish(k *link, condition, text string) {
	if k.state == over {
		return
	}
	k.s.say(&peer.Ended{Sub: k.sub, Gen: k.gen, Condition: condition, Text: text})
	r.unlink(k)
}

// Conditions of Ended.
const (
	condStolen  = "amqp:link:stolen"
	condDeleted = "amqp:resource-deleted"
	condLimit   = "amqp:resource-limit-exceeded"
)
