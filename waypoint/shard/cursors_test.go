package shard

import (
	"slices"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
)

func TestInOrderConfirmMovesTheFloorAndWritesOneRecord(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	r.start(2, "a", Limits{})
	m := r.publish(lane, "a", 10, 20, 30, 40)
	r.fits(Command{Confirm: []Confirm{{Sub: 1, Ranges: m[:2]}, {Sub: 2, Ranges: []Range{over(m[0], m[3])}}}})
	if len(r.put.writes) != 1 || r.put.writes[storage.KeyPlace] != 2 {
		t.Errorf("wrote %v, want two places", r.put.writes)
	}
	c := r.cursor(1)
	if c.Floor.Seq != m[1].Through || c.Backlog != totals(2, 70+2*Overhead) || c.Confirmed != totals(2, 30+2*Overhead) {
		t.Errorf("cursor %+v", c)
	}
	if c := r.cursor(2); c.Floor.Seq != m[3].Through || c.Backlog != totals(0, 0) {
		t.Errorf("cursor %+v", c)
	}
	r.sameAfterRestore()
}

func TestOutOfOrderConfirmsBecomeRangesThatMerge(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	r.start(2, "b", Limits{}) // so that the topic's seqs have holes
	var m []Range
	for range 6 {
		m = append(m, r.publish(lane, "a", 5)...)
		r.publish(lane, "b", 5)
	}
	steps := []struct {
		name    string
		confirm []Range
		ranges  int
		floor   uint64
		pending []uint64
	}{
		{"third", m[2:3], 1, 0, []uint64{m[0].From, m[1].From, m[3].From, m[4].From, m[5].From}},
		{"fifth", m[4:5], 2, 0, []uint64{m[0].From, m[1].From, m[3].From, m[5].From}},
		{"fourth joins both", m[3:4], 1, 0, []uint64{m[0].From, m[1].From, m[5].From}},
		{"again", []Range{m[3], over(m[2], m[4]), m[4]}, 1, 0, []uint64{m[0].From, m[1].From, m[5].From}},
		{"first moves the floor", m[0:1], 1, m[0].From, []uint64{m[1].From, m[5].From}},
		{"all", []Range{over(m[0], m[5])}, 0, m[5].From, nil},
	}
	for _, s := range steps {
		r.confirm(1, s.confirm...)
		c := r.cursor(1)
		if c.Ranges != s.ranges || s.floor != 0 && c.Floor.Seq != s.floor {
			t.Fatalf("%s: %d ranges, floor %d, want %d and %d", s.name, c.Ranges, c.Floor.Seq, s.ranges, s.floor)
		}
		if got := r.pending(1, 0); !slices.Equal(got, s.pending) {
			t.Fatalf("%s: pending %v, want %v", s.name, got, s.pending)
		}
		r.sameAfterRestore()
	}
	if c := r.cursor(1); c.Confirmed.Messages != 6 {
		t.Errorf("confirmed %v, want 6", c.Confirmed)
	}
}

func TestConfirmAndGiveUpOverlap(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	m := r.publish(lane, "a", 1, 2, 3, 4, 5, 6, 7, 8)
	r.confirm(1, m[3])
	// A give-up over what was confirmed takes only the rest.
	r.fits(Command{GiveUp: []GiveUp{{Sub: 1, Cause: CauseMessages, Ranges: []Range{over(m[2], m[4])}}}})
	c := r.cursor(1)
	if c.Confirmed.Messages != 1 || c.ByCause[CauseMessages] != totals(2, 3+5+2*Overhead) || c.Ranges != 3 {
		t.Fatalf("cursor %+v", c)
	}
	// A confirm of what was given up is ignored.
	r.confirm(1, m[2], over(m[1], m[5]))
	c = r.cursor(1)
	if c.Confirmed.Messages != 3 || c.GivenUp.Messages != 2 || c.Backlog.Messages != 3 {
		t.Fatalf("cursor %+v", c)
	}
	// The floor moves over ranges of every cause.
	r.confirm(1, m[0])
	c = r.cursor(1)
	if c.Floor.Seq != m[5].From || c.Ranges != 0 {
		t.Fatalf("cursor %+v", c)
	}
	// Rejected counts as given up, and is no gap: its subscriber knows.
	before := c.Gap
	r.fits(Command{Rejected: []Confirm{{Sub: 1, Ranges: m[6:7]}}})
	c = r.cursor(1)
	if c.ByCause[CauseRejected].Messages != 1 || c.Gap.Messages != before.Messages || c.Gap.Messages != 2 {
		t.Fatalf("cursor %+v", c)
	}
	r.sameAfterRestore()
}

func TestRangesThatCantBeRightAreLeftOut(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	m := r.publish(lane, "a", 10, 10, 10, 10, 10)
	r.confirm(1, m[0], m[2])
	before := r.memory()
	bad := func(change func(*Range)) Range {
		x := m[3]
		change(&x)
		return x
	}
	for name, x := range map[string]Range{
		"backwards":         bad(func(x *Range) { x.From, x.Through = x.Through+1, x.From }),
		"negative":          bad(func(x *Range) { x.Before, x.At = x.At, x.Before }),
		"beyond the head":   bad(func(x *Range) { x.Through = m[4].Through + 1 }),
		"more than there":   bad(func(x *Range) { x.At = totals(100, 100000) }),
		"before its place":  bad(func(x *Range) { x.Before = totals(0, 0) }),
		"bytes of nothing":  bad(func(x *Range) { x.At.Messages = x.Before.Messages }),
		"messages of none":  bad(func(x *Range) { x.At.Bytes = x.Before.Bytes }),
		"not its neighbour": over(m[1], bad(func(x *Range) { x.At = m[1].At })),
	} {
		result := r.do(Command{Confirm: []Confirm{{Sub: 1, Ranges: []Range{x}}}})
		if len(result.Faults) != 1 || result.Faults[0].Part != "Confirm" || result.Faults[0].Sub != 1 {
			t.Errorf("%s: faults %v, want one", name, result.Faults)
		}
		if got := r.memory(); got != before {
			t.Errorf("%s: changed the state:\n%s", name, difference(before, got))
		}
	}
	if result := r.do(Command{GiveUp: []GiveUp{{Sub: 1, Ranges: m[3:4]}}}); len(result.Faults) != 1 {
		t.Errorf("giving up without a cause: faults %v, want one", result.Faults)
	}
}

func TestAttachTakesOnlyHigherGenerations(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	r.start(1, "a", Limits{})
	attach := func(gen, mark uint64, router string) bool {
		return r.fits(Command{Attach: []Attach{{Sub: 1, Gen: gen, Router: router, Boot: gen, Mark: mark}}}).Attached[0]
	}
	if !attach(5, 100, "x") || attach(5, 200, "y") || attach(4, 200, "y") {
		t.Error("generations were not taken in order")
	}
	c := r.cursor(1)
	if c.Gen != 5 || c.Mark != 100 || len(c.Holders) != 1 || c.Holders[0] != (Holder{"x", 5, 5}) {
		t.Errorf("cursor %+v", c)
	}
	if !attach(6, 50, "y") {
		t.Error("a higher generation was not taken")
	}
	if c := r.cursor(1); c.Mark != 100 || len(c.Holders) != 1 || c.Holders[0].Router != "y" {
		t.Errorf("cursor %+v", c)
	}
	r.sameAfterRestore()
	r.fits(Command{Leave: []Leave{{Sub: 1, Gen: 5}}})
	if c := r.cursor(1); len(c.Holders) != 1 {
		t.Error("a link that is no longer there left")
	}
	r.fits(Command{Leave: []Leave{{Sub: 1, Gen: 6}}, Mark: []Mark{{Sub: 1, Mark: 120}}})
	if c := r.cursor(1); len(c.Holders) != 0 || c.Mark != 120 || c.Gen != 6 {
		t.Errorf("cursor %+v", c)
	}
	// The last holder says how far positions were really handed out; one that has been replaced does not.
	attach(7, 500, "z")
	attach(8, 600, "z")
	r.fits(Command{Leave: []Leave{{Sub: 1, Gen: 7, Mark: 130}}})
	if c := r.cursor(1); c.Mark != 600 {
		t.Errorf("cursor %+v", c)
	}
	r.fits(Command{Leave: []Leave{{Sub: 1, Gen: 8, Mark: 130}}})
	if c := r.cursor(1); c.Mark != 130 || len(c.Holders) != 0 {
		t.Errorf("cursor %+v", c)
	}
	lane := r.lane()
	m := r.publish(lane, "a", 1, 1, 1)
	r.confirm(1, over(m[0], m[1]))
	attach(9, 700, "z")
	r.fits(Command{Leave: []Leave{{Sub: 1, Gen: 9, Mark: m[0].From}}})
	if c := r.cursor(1); c.Mark != m[1].From {
		t.Errorf("mark %d, want the floor, %d", c.Mark, m[1].From)
	}
	if r.do(Command{Attach: []Attach{{Sub: 2, Gen: 1}}}).Attached[0] {
		t.Error("an unknown subscription was attached")
	}
	r.sameAfterRestore()
}

func TestFailedDeliveriesAreForgottenWithTheirMessage(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	m := r.publish(lane, "a", 1, 1, 1, 1)
	r.fits(Command{Fail: []Fail{{1, m[0].From, 1}, {1, m[1].From, 3}, {1, m[2].From, 1}, {1, m[3].From, 1}}})
	r.fits(Command{Fail: []Fail{{1, m[1].From, 2}, {1, m[3].From + 1, 9}, {2, m[1].From, 9}, {1, m[2].From, 2}}})
	for i, want := range []uint32{1, 3, 2, 1} {
		if got := r.Failed(1, m[i].From); got != want {
			t.Errorf("message %d failed %d times, want %d", i, got, want)
		}
	}
	r.sameAfterRestore()
	r.confirm(1, m[1])
	r.fits(Command{GiveUp: []GiveUp{{Sub: 1, Cause: CauseDeliveries, Ranges: []Range{over(m[2], m[3])}}}})
	r.fits(Command{Fail: []Fail{{1, m[1].From, 7}}})
	for i, want := range []uint32{1, 0, 0, 0} {
		if got := r.Failed(1, m[i].From); got != want {
			t.Errorf("message %d failed %d times, want %d", i, got, want)
		}
	}
	r.sameAfterRestore()
	r.confirm(1, m[0])
	if c := r.cursors[1]; len(c.failed) != 0 {
		t.Errorf("counts are left: %v", c.failed)
	}
	r.sameAfterRestore()
}

// A count for a position that is not a message of the topic can't be told from a right one, and goes like one.
func TestFailedDeliveriesOfNoMessageGoToo(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	r.start(2, "b", Limits{})
	var m []Range
	for range 3 {
		m = append(m, r.publish(lane, "a", 1)...)
		r.publish(lane, "b", 1)
	}
	r.fits(Command{Fail: []Fail{{1, m[0].From + 1, 1}, {1, m[1].From + 1, 1}}})
	r.confirm(1, m[1], m[2])
	r.confirm(1, m[0])
	if c := r.cursors[1]; len(c.failed) != 0 {
		t.Errorf("counts are left: %v", c.failed)
	}
	r.sameAfterRestore()
}

func TestStartIsIdempotentAndEndTakesAllAway(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	empty := r.dump()
	lane := r.lane()
	before := r.dump()
	first := r.fits(Command{Start: []Start{{Sub: 7, Address: "a", Limits: Limits{MaxMessages: 3}}}}).Started[0]
	if first.Found || first.Refused || first.Topic == 0 {
		t.Errorf("started %+v", first)
	}
	m := r.publish(lane, "a", 1, 1, 1, 1)
	again := r.fits(Command{Start: []Start{{Sub: 7, Address: "a", Limits: Limits{MaxMessages: 9}}, {Sub: 7, Address: "b"}}}).Started
	if !again[0].Found || again[0].Start != first.Start || again[0].Refused || !again[1].Refused {
		t.Errorf("started again %+v", again)
	}
	if c := r.cursor(7); c.Backlog.Messages != 4 || c.Limits.MaxMessages != 3 {
		t.Errorf("cursor %+v", c)
	}
	// A second cursor begins at the end of the topic.
	r.start(8, "a", Limits{})
	if c := r.cursor(8); c.Start.Seq != m[3].From || c.Backlog.Messages != 0 {
		t.Errorf("cursor %+v", c)
	}
	r.confirm(7, m[1])
	r.fits(Command{Fail: []Fail{{7, m[2].From, 1}}, GiveUp: []GiveUp{{Sub: 7, Cause: CauseAge, Ranges: m[3:4]}}})
	r.fits(Command{End: []uint64{7, 99}})
	if _, ok := r.Cursor(7); ok {
		t.Error("the cursor is still there")
	}
	if topic, ok := r.Topic("a"); !ok || topic.Kept.Messages != 4 {
		t.Errorf("topic %+v %v: another cursor is on it", topic, ok)
	}
	r.fits(Command{End: []uint64{8}})
	if _, ok := r.Topic("a"); ok {
		t.Error("the topic is still there")
	}
	if status := r.do(Command{Publish: []Publish{{Lane: lane, N: 5, Address: "a"}}}).Publish[0].Status; status != StatusNoView {
		t.Errorf("a publish that nobody wants: status %d, want NoView", status)
	}
	r.fits(Command{LaneForget: []uint64{lane, lane}})
	for _, line := range []string{before, r.dump()} {
		if len(line) < len(empty) {
			t.Error("a dump is too short")
		}
	}
	// Nothing but the counters is left.
	if got := r.dump(); len(got) == 0 || got[0] != byte(storage.KeyHeader) || slices.Contains([]byte(got[:len(got)-1]), '\n') {
		t.Errorf("left:\n%s", got)
	}
	r.sameAfterRestore()
}

func TestATopicsSecondLifeIsAnother(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	r.publish(lane, "a", 1, 1)
	first, _ := r.Topic("a")
	r.fits(Command{End: []uint64{1}, Start: []Start{{Sub: 2, Address: "b"}}})
	r.start(3, "a", Limits{})
	second, _ := r.Topic("a")
	if first.ID == second.ID || second.Head.Totals != totals(0, 0) || second.Kept != totals(0, 0) {
		t.Errorf("first %+v, second %+v", first, second)
	}
	r.sameAfterRestore()
	if got := r.pending(3, 0); got != nil {
		t.Errorf("pending %v, want nothing", got)
	}
}

func TestOldest(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	if _, ok, err := r.Oldest(1); ok || err != nil {
		t.Errorf("an empty backlog has an oldest message: %v %v", ok, err)
	}
	first := r.now
	m := r.publish(lane, "a", 1)
	r.now += time.Minute.Milliseconds()
	m = append(m, r.publish(lane, "a", 1, 1)...)
	r.confirm(1, m[1])
	if o, ok, err := r.Oldest(1); !ok || err != nil || o.Seq != m[0].From || o.Time != first {
		t.Errorf("oldest %+v %v %v", o, ok, err)
	}
	r.confirm(1, m[0])
	if o, ok, err := r.Oldest(1); !ok || err != nil || o.Seq != m[2].From || o.Time != r.now || o.Range() != m[2] {
		t.Errorf("oldest %+v %v %v", o, ok, err)
	}
}
