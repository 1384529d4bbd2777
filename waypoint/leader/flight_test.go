package leader

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestFlightAgainstMap moves items about at random and compares with a plain map after every step.
func TestFlightAgainstMap(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var f flight
		want := map[uint64]stage{}
		next := uint64(0)
		for range 3000 {
			switch k := rnd.IntN(10); {
			case k < 5:
				next += uint64(1 + rnd.IntN(3))
				f.add(item{seq: next, stage: sent})
				want[next] = sent
			case k == 5: // one held from before, anywhere
				seq := uint64(rnd.IntN(int(next) + 1))
				if _, there := want[seq]; there || seq == 0 {
					continue
				}
				f.add(item{seq: seq, stage: waiting})
				want[seq] = waiting
			case k < 9:
				for seq := range want {
					to := stage(rnd.IntN(int(parked + 1)))
					f.move(f.find(seq), to)
					if want[seq] = to; to == gone {
						delete(want, seq)
					}
					break
				}
			default:
				from := stage(1 + rnd.IntN(int(parked)))
				f.sweep(func(it *item) bool { return it.stage != from })
				for seq, s := range want {
					if s == from {
						delete(want, seq)
					}
				}
			}
			compareFlight(t, &f, want)
		}
	}
}

func compareFlight(t *testing.T, f *flight, want map[uint64]stage) {
	t.Helper()
	var seqs []uint64
	var by [parked + 1]int
	firstWaiting := uint64(0)
	for seq, s := range want {
		seqs = append(seqs, seq)
		by[s]++
		if s == waiting && (firstWaiting == 0 || seq < firstWaiting) {
			firstWaiting = seq
		}
		if it := f.find(seq); it == nil || it.stage != s {
			t.Fatalf("item %d: got %+v, want stage %d", seq, it, s)
		}
	}
	slices.Sort(seqs)
	var got []uint64
	f.each(func(it *item) { got = append(got, it.seq) })
	if !slices.Equal(got, seqs) {
		t.Fatalf("order: got %v, want %v", got, seqs)
	}
	if f.len() != len(want) {
		t.Fatalf("len %d, want %d", f.len(), len(want))
	}
	for s := sent; s <= parked; s++ {
		if f.in(s) != by[s] {
			t.Fatalf("stage %d: %d items, want %d", s, f.in(s), by[s])
		}
	}
	if it := f.firstWaiting(); firstWaiting == 0 && it != nil || firstWaiting != 0 && (it == nil || it.seq != firstWaiting) {
		t.Fatalf("first waiting: got %+v, want %d", it, firstWaiting)
	}
	if f.find(1<<40) != nil || f.find(0) != nil {
		t.Fatal("found what is not there")
	}
}
