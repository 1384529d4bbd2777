package shard

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestGarbageBreaksNothing applies commands that no leader would make: every number is any, from a few. Whatever gets
// in, replicas agree, memory is what is stored, and what must always hold (Check, after each command) does.
func TestGarbageBreaksNothing(t *testing.T) {
	s := openStore(t)
	for n := range uint64(*rounds) {
		rng := rand.New(rand.NewPCG(n, 7))
		a, b := newReplica(t, s, uint32(2*n)), newReplica(t, s, uint32(2*n+1))
		for step := range 150 {
			c := garbage(rng, a)
			ra, rb := a.do(c), b.do(c)
			if fmt.Sprintf("%+v", ra) != fmt.Sprintf("%+v", rb) {
				t.Fatalf("seed %d: results differ: %+v, %+v", n, ra, rb)
			}
			if step%10 == 0 {
				b.sameAfterRestore()
			}
		}
		if x, y := a.dump(), b.dump(); x != y {
			t.Fatalf("seed %d: replicas differ:\n%s", n, difference(x, y))
		}
	}
}

func garbage(rng *rand.Rand, a *replica) Command {
	num := func() uint64 { return rng.Uint64N(7) * rng.Uint64N(4) }
	// Nearly right, if topic a has every seq and its messages are empty.
	amount := func(n uint64) Totals {
		if rng.IntN(8) == 0 {
			n += rng.Uint64N(3) - min(n, 1)
		}
		bytes := n * Overhead
		if rng.IntN(8) == 0 {
			bytes += rng.Uint64N(3) - min(n, 1)
		}
		return totals(n, bytes)
	}
	last := a.Last()
	span := func() Range {
		r := Range{From: rng.Uint64N(last + 2)}
		r.Through = r.From + rng.Uint64N(5)
		r.Before, r.At = amount(max(r.From, 1)-1), amount(r.Through)
		return r
	}
	spans := func() []Range { return []Range{span(), span()}[:1+rng.IntN(2)] }
	sub := func() uint64 { return rng.Uint64N(4) }
	address := func() string { return []string{"", "a", "a", "a", "a", "a", "a", "b"}[rng.IntN(8)] }
	limits := Limits{MaxMessages: num(), MaxBytes: num(), MaxAge: time.Duration(num()) * time.Second}
	var c Command
	parts := []func(){
		func() { c.LaneOpen = append(c.LaneOpen, LaneOpen{address(), num()}) },
		func() { c.Start = append(c.Start, Start{Sub: sub(), Address: address(), Limits: limits}) },
		func() { c.Limits = append(c.Limits, SetLimits{sub(), limits}) },
		func() { c.Attach = append(c.Attach, Attach{Sub: sub(), Gen: num(), Router: address(), Mark: num()}) },
		func() { c.Leave = append(c.Leave, Leave{sub(), num(), num()}) },
		func() { c.AckRefusals = append(c.AckRefusals, AckRefusals{num(), num()}) },
		func() { c.Confirm = append(c.Confirm, Confirm{sub(), spans()}) },
		func() { c.Confirm = append(c.Confirm, Confirm{sub(), spans()}) },
		func() { c.Fail = append(c.Fail, Fail{sub(), rng.Uint64N(last + 2), uint32(num())}) },
		func() { c.Rejected = append(c.Rejected, Confirm{sub(), spans()}) },
		func() { c.GiveUp = append(c.GiveUp, GiveUp{sub(), Cause(rng.IntN(int(Causes))), spans()}) },
		func() { c.Heard = append(c.Heard, Heard{sub(), rng.Uint64N(a.index + 2)}) },
		func() { c.Mark = append(c.Mark, Mark{sub(), num()}) },
		func() { c.Trim = append(c.Trim, Trim{1 + rng.Uint64N(a.header.LastTopic+1), span()}) },
		func() {
			l, _ := a.Lane(1)
			for i := range num() {
				c.Publish = append(c.Publish, Publish{Lane: 1 + rng.Uint64N(8)/7, N: l.Last + 1 + i - rng.Uint64N(20)/19,
					Verdict: Verdict(max(0, rng.IntN(13)-9)), Address: address(), Payload: make([]byte, rng.IntN(10)/9)})
			}
		},
		func() { c.Evict = append(c.Evict, GiveUp{sub(), Cause(rng.IntN(int(Causes))), spans()}) },
	}
	for range 1 + rng.IntN(6) {
		parts[rng.IntN(len(parts))]()
	}
	if rng.IntN(40) == 0 {
		c.End = append(c.End, sub())
	}
	if rng.IntN(40) == 0 {
		c.LaneForget = append(c.LaneForget, num())
	}
	return c
}

// TestReadersBesideApply: with -race, what is read is read under the lock; without, nothing tears.
func TestReadersBesideApply(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	for sub := uint64(1); sub <= 5; sub++ {
		r.start(sub, "a", Limits{MaxMessages: 50, MaxAge: time.Second})
	}
	m := r.Machine
	stop := make(chan struct{})
	var wg sync.WaitGroup
	read := func(fn func() error) {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := fn(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	read(m.Check)
	read(func() error {
		for _, c := range m.Cursors() {
			if c.Confirmed.Add(c.GivenUp).Add(c.Backlog) == (Totals{}) && c.Floor.Seq > c.Start.Seq {
				return fmt.Errorf("cursor %+v", c)
			}
			w, err := m.Pending(c.Sub, c.Floor.Seq)
			if err != nil {
				return err
			}
			for w.Next() {
				if x := w.Message(); x.Range().Totals() != Size(len(x.Payload)) {
					return fmt.Errorf("message %+v", x)
				}
			}
			if err := w.Close(); err != nil {
				return err
			}
			if _, _, err := m.Oldest(c.Sub); err != nil {
				return err
			}
		}
		return nil
	})
	read(func() error {
		topic, _ := m.Topic("a")
		m.Trimmable(topic.ID)
		m.Overflowing("a", topic.Head.Totals)
		m.NextAgeDeadline()
		m.Lanes()
		_, err := m.Expired(r.now + 3_600_000)
		return err
	})
	read(func() error {
		var b strings.Builder
		return m.Dump(&b)
	})
	for i := range 200 {
		x := r.publish(lane, "a", i%7, i%5)
		for sub := uint64(1); sub <= 5; sub++ {
			r.confirm(sub, x[1], x[0])
		}
		if front, ok := r.TrimmableFront(1); ok && i%9 == 0 {
			r.trim("a", front)
		}
	}
	close(stop)
	wg.Wait()
}
