package endpoint

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/posthouse/posthouse/router/amqp"
)

// TestIDTable compares the table with a map, over ids that wrap around and over ranges of any size.
func TestIDTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var table idTable[uint32]
	model := map[uint32]*uint32{}
	base := ^uint32(0) - 3000
	next := base
	for range 40_000 {
		switch rng.IntN(10) {
		case 0, 1, 2, 3:
			v := new(uint32)
			*v = next
			table.put(next, v)
			model[next] = v
			next += 1 + uint32(rng.IntN(3))*uint32(rng.IntN(200))
		case 4, 5, 6, 7:
			for id := range model {
				table.remove(id)
				delete(model, id)
				break
			}
			table.remove(next + 77)
		case 8:
			if len(model) > 2000 {
				// The oldest go in one range, as a peer settles them.
				first := base
				last := next - 500
				table.each(first, last, func(id uint32, v *uint32) {
					if model[id] != v || before(last, id) {
						t.Fatalf("%d is not in the model", id)
					}
					table.remove(id)
					delete(model, id)
				})
			}
		default:
			first := base + uint32(rng.Int32N(1<<20))
			last := first + uint32(rng.Uint64N(1<<uint(rng.IntN(31))))
			var got []uint32
			table.each(first, last, func(id uint32, v *uint32) { got = append(got, id) })
			want := slices.Collect(maps.Keys(model))
			want = slices.DeleteFunc(want, func(id uint32) bool { return id-first > last-first })
			slices.SortFunc(want, func(a, b uint32) int { return int(int32(a - b)) })
			if !slices.Equal(got, want) {
				t.Fatalf("from %d to %d: got %d entries, want %d", first, last, len(got), len(want))
			}
		}
		if table.len() != len(model) {
			t.Fatalf("%d entries, want %d", table.len(), len(model))
		}
	}
	if len(table.pages) > len(model) {
		t.Errorf("%d pages for %d entries", len(table.pages), len(model))
	}
}

// TestRanges compares the ranges with a map of what was said last for each id.
func TestRanges(t *testing.T) {
	type said struct {
		settled bool
		state   amqp.DeliveryState
	}
	errs := []*amqp.Error{amqp.Errorf("a", ""), amqp.Errorf("b", "")}
	states := []amqp.DeliveryState{
		amqp.Accepted{}, amqp.Accepted{}, amqp.Accepted{}, amqp.Released{}, nil,
		amqp.Rejected{Error: errs[0]}, amqp.Rejected{Error: errs[1]}, amqp.Modified{DeliveryFailed: true},
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 300 {
		var r ranges
		model := map[uint32]said{}
		base := ^uint32(0) - 20
		for range 200 {
			id := base + uint32(rng.IntN(60))
			s := said{rng.IntN(4) > 0, states[rng.IntN(len(states))]}
			r.add(id, s.settled, s.state)
			model[id] = s
			if rng.IntN(60) == 0 && !r.empty() {
				for id := r.front().first; ; id++ {
					delete(model, id)
					if id == r.front().last {
						break
					}
				}
				r.drop()
			}
		}
		got := map[uint32]said{}
		var previous *deliveryRange
		for !r.empty() {
			e := *r.front()
			r.drop()
			if e.last < e.first {
				t.Fatalf("round %d: range %d to %d runs over the end", round, e.first, e.last)
			}
			if previous != nil && (!before(previous.last, e.first) || previous.joins(e.first, e.settled, e.state)) {
				t.Fatalf("round %d: %v and %v overlap, are out of order, or are one", round, *previous, e)
			}
			previous = &e
			for id := e.first; ; id++ {
				got[id] = said{e.settled, e.state}
				if id == e.last {
					break
				}
			}
		}
		if !maps.EqualFunc(got, model, func(a, b said) bool { return a.settled == b.settled && sameState(a.state, b.state) }) {
			t.Fatalf("round %d: got %v\nwant %v", round, got, model)
		}
	}
}

func TestFIFO(t *testing.T) {
	var q fifo[int]
	var model []int
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range 10_000 {
		if rng.IntN(5) < 3 {
			q.push(i)
			model = append(model, i)
		} else if len(model) > 0 {
			if q.front() != model[0] || q.pop() != model[0] {
				t.Fatal("order")
			}
			model = model[1:]
		}
		if q.len() != len(model) {
			t.Fatal("length")
		}
	}
	if cap(q.items) > 4*len(model)+1000 {
		t.Errorf("room for %d with %d inside", cap(q.items), len(model))
	}
}

type lender struct{ released int }

func (l *lender) Release() { l.released++ }

func TestMessages(t *testing.T) {
	b := NewBudget(1000)
	m := NewMessage(make([]byte, 10, 20), b)
	if b.Used() != 20 {
		t.Errorf("used %d", b.Used())
	}
	m.Retain()
	m.Release()
	if b.Used() != 20 {
		t.Errorf("used %d", b.Used())
	}
	m.Release()
	if b.Used() != 0 {
		t.Errorf("used %d", b.Used())
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("released once too often, and nobody noticed")
			}
		}()
		m.Release()
	}()
	l := new(lender)
	m = LendMessage([]byte("lent"), l)
	m.Retain().Release()
	if string(m.Bytes()) != "lent" || l.released != 0 {
		t.Error("lent bytes")
	}
	if m.Release(); l.released != 1 {
		t.Errorf("owner was told %d times", l.released)
	}
	for _, size := range []int{0, 1, 255, 256, 257, 1000, 70000, 1 << 20, 1<<20 + 1} {
		m := copyMessage(make([]byte, size), nil)
		if len(m.Bytes()) != size || cap(m.own) < size || cap(m.own) > max(256, 2*size) {
			t.Errorf("%d bytes in %d", len(m.Bytes()), cap(m.own))
		}
		m.Release()
	}
}

func TestListKeepsOrder(t *testing.T) {
	var l list[inDelivery, *inDelivery]
	var all []*inDelivery
	for i := range uint32(5) {
		d := &inDelivery{id: i}
		all = append(all, d)
		l.pushBack(d)
	}
	l.remove(all[2])
	l.remove(all[0])
	l.remove(all[4])
	var got []uint32
	for d := l.first; d != nil; d = d.next {
		got = append(got, d.id)
	}
	if fmt.Sprint(got) != "[1 3]" || l.last != all[3] {
		t.Errorf("got %v", got)
	}
	l.remove(all[1])
	l.remove(all[3])
	if l.first != nil || l.last != nil {
		t.Error("not empty")
	}
}
