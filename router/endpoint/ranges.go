package endpoint

import (
	"math"
	"slices"

	"github.com/posthouse/posthouse/router/amqp"
)

// ranges are the dispositions that a session owes in one role: sorted, disjoint, and merged where neighbours say the same. There are never
// more of them than deliveries that the peer considers unsettled, so credit bounds them.
type ranges struct {
	list []deliveryRange
	head int // what is before it has been taken
}

type deliveryRange struct {
	first, last uint32
	settled     bool
	state       amqp.DeliveryState
}

func (r *ranges) empty() bool { return r.head == len(r.list) }

// front is the first range. Not to be called if empty.
func (r *ranges) front() *deliveryRange { return &r.list[r.head] }

// drop forgets the front.
func (r *ranges) drop() {
	r.list[r.head] = deliveryRange{}
	r.head++
	if r.head == len(r.list) {
		r.list, r.head = r.list[:0], 0
		if cap(r.list) > 1024 {
			r.list = nil
		}
	}
}

// add enters one delivery. If it is there already the new state replaces the old one.
func (r *ranges) add(id uint32, settled bool, state amqp.DeliveryState) {
	n := len(r.list)
	if n == r.head || before(r.list[n-1].last, id) {
		if n > r.head && r.list[n-1].joins(id, settled, state) {
			r.list[n-1].last = id
			return
		}
		if n == cap(r.list) && r.head > n/2 {
			r.list = slices.Delete(r.list, 0, r.head)
			r.head = 0
		}
		r.list = append(r.list, deliveryRange{id, id, settled, state})
		return
	}
	r.insert(id, settled, state)
}

func (r *ranges) insert(id uint32, settled bool, state amqp.DeliveryState) {
	live := r.list[r.head:]
	i, found := slices.BinarySearchFunc(live, id, func(e deliveryRange, id uint32) int {
		switch {
		case before(e.last, id):
			return -1
		case before(id, e.first):
			return 1
		}
		return 0
	})
	i += r.head
	if found {
		i = r.cut(i, id)
	}
	// i is where id belongs: before it is the range that ends before id, at it the one that begins behind id.
	left := i > r.head && r.list[i-1].joins(id, settled, state)
	right := i < len(r.list) && id != math.MaxUint32 && r.list[i].first == id+1 && r.list[i].says(settled, state)
	switch {
	case left && right:
		r.list[i-1].last = r.list[i].last
		r.list = slices.Delete(r.list, i, i+1)
	case left:
		r.list[i-1].last = id
	case right:
		r.list[i].first = id
	default:
		r.list = slices.Insert(r.list, i, deliveryRange{id, id, settled, state})
	}
}

// cut takes id out of range i and returns where id belongs now.
func (r *ranges) cut(i int, id uint32) int {
	e := r.list[i]
	switch {
	case e.first == e.last:
		r.list = slices.Delete(r.list, i, i+1)
		return i
	case e.first == id:
		r.list[i].first++
		return i
	case e.last == id:
		r.list[i].last--
		return i + 1
	}
	r.list[i].last = id - 1
	e.first = id + 1
	r.list = slices.Insert(r.list, i+1, e)
	return i + 1
}

// joins tells whether id comes right behind the range and says the same. Ranges don't run over the end of the serial numbers:
// there are peers that count from first to last without wrapping around.
func (e *deliveryRange) joins(id uint32, settled bool, state amqp.DeliveryState) bool {
	return id != 0 && e.last == id-1 && e.says(settled, state)
}

func (e *deliveryRange) says(settled bool, state amqp.DeliveryState) bool {
	return e.settled == settled && sameState(e.state, state)
}

// sameState tells whether two states are the same without looking into maps: states that can't be compared cheaply are different.
func sameState(a, b amqp.DeliveryState) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case amqp.Accepted:
		_, ok := b.(amqp.Accepted)
		return ok
	case amqp.Released:
		_, ok := b.(amqp.Released)
		return ok
	case amqp.Rejected:
		b, ok := b.(amqp.Rejected)
		return ok && a.Error == b.Error
	case amqp.Modified:
		b, ok := b.(amqp.Modified)
		return ok && a.MessageAnnotations == nil && b.MessageAnnotations == nil &&
			a.DeliveryFailed == b.DeliveryFailed && a.UndeliverableHere == b.UndeliverableHere
	}
	return false
}
