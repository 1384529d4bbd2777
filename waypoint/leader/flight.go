package leader

import (
	"sort"

	"github.com/posthouse/posthouse/waypoint/shard"
)

// stage is where an item is on its way.
type stage uint8

const (
	gone     stage = iota // taken out; its slot waits to be reused
	sent                  // its router holds it
	settling              // its outcome has come and waits for a turn
	proposed              // its outcome is in the command in flight
	waiting               // it goes out again before anything new
	parked                // undeliverable-here: it waits for another link
)

// verdict is what an outcome asks for, where it needs a command.
type verdict uint8

const (
	confirm  verdict = iota
	reject           // counted, and given up
	fail             // the attempt counts; it goes out again
	failPark         // the attempt counts; it waits for another link
)

// item is a message of a cursor that was handed out and is not settled.
type item struct {
	seq     uint64
	before  shard.Totals
	at      shard.Totals
	time    int64
	told    uint64 // the version of the gap that went with it
	count   uint32 // failed attempts before this one
	stage   stage
	verdict verdict
	again   bool // it may have been seen before: it goes, or went, out flagged
}

func (it *item) rng() shard.Range {
	return shard.Range{From: it.seq, Through: it.seq, Before: it.before, At: it.at}
}

// flight is a cursor's items, by seq. Items come mostly at the end and go mostly at the front, so it is a slice with gaps
// at its front and, for a while, inside. Pointers into it are valid until the next add or compact.
type flight struct {
	list  []item
	start int
	by    [parked + 1]int // items by stage
	back  uint64          // no waiting item lies below
}

// len is the number of items.
func (f *flight) len() int { return len(f.list) - f.start - f.by[gone] }

// in is the number of items at a stage.
func (f *flight) in(s stage) int { return f.by[s] }

// held is what a router holds or has held and not got back: sent, settling and proposed.
func (f *flight) held() int { return f.by[sent] + f.by[settling] + f.by[proposed] }

// find returns the item at seq, or nil.
func (f *flight) find(seq uint64) *item {
	live := f.list[f.start:]
	if len(live) == 0 || seq < live[0].seq || seq > live[len(live)-1].seq {
		return nil
	}
	i := sort.Search(len(live), func(i int) bool { return live[i].seq >= seq })
	if i < len(live) && live[i].seq == seq && live[i].stage != gone {
		return &live[i]
	}
	return nil
}

// add puts an item in, which must not be there.
func (f *flight) add(it item) {
	f.by[it.stage]++
	if it.stage == waiting {
		f.back = min(f.back, it.seq)
	}
	n := len(f.list)
	if n == f.start || it.seq > f.list[n-1].seq {
		if n == cap(f.list) && f.start > n/2 {
			n = copy(f.list, f.list[f.start:])
			f.list, f.start = f.list[:n], 0
		}
		f.list = append(f.list, it)
		return
	}
	i := f.start + sort.Search(n-f.start, func(i int) bool { return f.list[f.start+i].seq >= it.seq })
	if f.list[i].seq == it.seq {
		f.by[gone]--
		f.list[i] = it
		return
	}
	if i == f.start && i > 0 {
		f.start--
		f.list[f.start] = it
		return
	}
	f.list = append(f.list, item{})
	copy(f.list[i+1:], f.list[i:])
	f.list[i] = it
}

// move takes an item to another stage; gone takes it out.
func (f *flight) move(it *item, to stage) {
	f.by[it.stage]--
	f.by[to]++
	it.stage = to
	switch to {
	case waiting:
		f.back = min(f.back, it.seq)
	case gone:
		f.trim()
	}
}

// trim drops dead slots at the front, and all of them when they outnumber the living.
func (f *flight) trim() {
	for f.start < len(f.list) && f.list[f.start].stage == gone {
		f.start++
		f.by[gone]--
	}
	if f.start == len(f.list) {
		f.list, f.start = f.list[:0], 0
		return
	}
	if f.by[gone] > 16 && f.by[gone] > f.len() {
		kept := f.list[:0]
		for _, it := range f.list[f.start:] {
			if it.stage != gone {
				kept = append(kept, it)
			}
		}
		f.list, f.start, f.by[gone] = kept, 0, 0
	}
}

// each calls fn for every item in order. fn may move items to any stage but gone.
func (f *flight) each(fn func(*item)) {
	for i := f.start; i < len(f.list); i++ {
		if f.list[i].stage != gone {
			fn(&f.list[i])
		}
	}
}

// sweep calls keep for every item in order and drops those that it does not keep. keep may change the item's stage by
// moving it, not to gone.
func (f *flight) sweep(keep func(*item) bool) {
	for i := f.start; i < len(f.list); i++ {
		it := &f.list[i]
		if it.stage != gone && !keep(it) {
			f.by[it.stage]--
			f.by[gone]++
			it.stage = gone
		}
	}
	f.trim()
}

// firstWaiting returns the first item that goes out again, or nil.
func (f *flight) firstWaiting() *item {
	if f.by[waiting] == 0 {
		f.back = 1<<64 - 1
		return nil
	}
	live := f.list[f.start:]
	for i := sort.Search(len(live), func(i int) bool { return live[i].seq >= f.back }); i < len(live); i++ {
		if live[i].stage == waiting {
			f.back = live[i].seq
			return &live[i]
		}
	}
	return nil
}

// reset empties the flight.
func (f *flight) reset() { *f = flight{list: f.list[:0]} }
