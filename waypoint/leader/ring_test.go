package leader

import (
	"math/rand/v2"
	"testing"
)

func TestRingAgainstSlice(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var q ring[int]
	var want []int
	for i := range 20_000 {
		// It grows for a while, then shrinks.
		if up := i/2000%2 == 0; rnd.IntN(10) < 3 != up || len(want) == 0 {
			q.push(i)
			want = append(want, i)
		} else {
			if got := q.pop(); got != want[0] {
				t.Fatalf("popped %d, want %d", got, want[0])
			}
			want = want[1:]
		}
		if q.len() != len(want) || len(q.list) > max(ringMin, 4*len(want)) {
			t.Fatalf("%d of %d in memory for %d", q.len(), len(want), len(q.list))
		}
		if len(want) > 0 {
			at := rnd.IntN(len(want))
			if *q.at(at) != want[at] || q.search(func(v *int) bool { return *v >= want[at] }) != at {
				t.Fatalf("at %d: %d, want %d", at, *q.at(at), want[at])
			}
		}
	}
	if q.search(func(*int) bool { return false }) != q.len() {
		t.Fatal("found what is not there")
	}
}

// TestHotForgetsTheOldestFirst keeps within its limit, over all topics, and knows what it does not know.
func TestHotForgetsTheOldestFirst(t *testing.T) {
	h := hot{limit: 10 * (hotOverhead + 100)}
	var a, b recent
	for i := range uint64(30) {
		r := &a
		if i%3 == 0 {
			r = &b
		}
		h.push(r, message{seq: i + 1, payload: make([]byte, 100)})
	}
	if h.bytes > h.limit || a.list.len()+b.list.len() != 10 {
		t.Fatalf("%d bytes, %d and %d places", h.bytes, a.list.len(), b.list.len())
	}
	if a.covers(19) || !a.covers(20) || a.at(20) != nil || a.at(21) == nil || a.at(22) != nil || b.at(22) == nil {
		t.Fatalf("a knows above %d, b above %d", a.base, b.base)
	}
	if m := a.after(22); m == nil || m.seq != 23 {
		t.Fatalf("after 22: %+v", m)
	}
	if a.after(30) != nil || a.at(0) != nil {
		t.Fatal("found what is not there")
	}
	h.push(&b, message{seq: 31, payload: make([]byte, 5000)}) // alone too large
	if h.bytes != 0 || a.covers(29) || !a.covers(30) || b.covers(30) {
		t.Fatalf("%d bytes", h.bytes)
	}
}
