package shard

import (
	"errors"
	"slices"
	"testing"

	"github.com/posthouse/posthouse/storage"
)

// stored lists the seqs of a topic's messages on disk.
func (r *replica) stored(address string) []uint64 {
	r.t.Helper()
	topic, _ := r.Topic(address)
	w, err := r.Messages(topic.ID, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	var seqs []uint64
	for w.Next() {
		seqs = append(seqs, w.Message().Seq)
	}
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	return seqs
}

func (r *replica) topic(address string) Topic {
	r.t.Helper()
	topic, ok := r.Topic(address)
	if !ok {
		r.t.Fatalf("no topic %s", address)
	}
	return topic
}

func (r *replica) trim(address string, x Range) Totals {
	r.t.Helper()
	return r.fits(Command{Trim: []Trim{{Topic: r.topic(address).ID, Range: x}}}).Trimmed
}

func seqs(ranges ...Range) []uint64 {
	var list []uint64
	for _, x := range ranges {
		list = append(list, x.From)
	}
	return list
}

func TestTrimAtTheFront(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	r.start(2, "a", Limits{})
	m := r.publish(lane, "a", 1, 2, 3, 4, 5)
	if _, ok := r.TrimmableFront(1); ok || len(r.Trimmable(1)) != 0 {
		t.Error("something may be trimmed that nobody has confirmed")
	}
	r.confirm(1, over(m[0], m[3]))
	r.confirm(2, over(m[0], m[1]))
	front, ok := r.TrimmableFront(1)
	if !ok || front.Before != m[0].Before || front.At != m[1].At {
		t.Errorf("trimmable %+v %v", front, ok)
	}
	// More than may be: only what nobody needs goes.
	if got := r.trim("a", over(m[0], m[4])); got != front.Totals() {
		t.Errorf("trimmed %v, want %v", got, front.Totals())
	}
	if got := r.stored("a"); !slices.Equal(got, seqs(m[2:]...)) {
		t.Errorf("stored %v, want %v", got, seqs(m[2:]...))
	}
	if topic := r.topic("a"); topic.Tail.Totals != m[1].At || topic.Kept.Messages != 3 || topic.Floor.Totals != m[1].At {
		t.Errorf("topic %+v", topic)
	}
	r.sameAfterRestore()
	r.confirm(2, over(m[2], m[4]))
	r.confirm(1, m[4])
	r.trim("a", over(m[0], m[4]))
	if topic := r.topic("a"); topic.Kept != totals(0, 0) || topic.Tail != topic.Head || topic.Head.Totals.Messages != 5 {
		t.Errorf("topic %+v", topic)
	}
	// With nothing left on disk the topic still knows where it ends.
	r.sameAfterRestore()
	m = append(m, r.publish(lane, "a", 6)...)
	if m[5].Before != m[4].At {
		t.Errorf("totals begin again: %+v", m[5])
	}
	r.sameAfterRestore()
}

func TestTrimInsideLeavesAHole(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	r.start(2, "a", Limits{})
	r.start(3, "b", Limits{})
	var m []Range
	for range 8 {
		m = append(m, r.publish(lane, "a", 10)...)
		r.publish(lane, "b", 1)
	}
	r.confirm(1, over(m[1], m[4])) // 0 and 5.. are stuck
	r.confirm(2, over(m[2], m[6]), m[0])
	if got := r.Trimmable(1); len(got) != 1 || got[0].Before != m[2].Before || got[0].At != m[4].At {
		t.Errorf("trimmable %+v", got)
	}
	if got := r.trim("a", over(m[0], m[7])); got.Messages != 3 {
		t.Errorf("trimmed %v, want 3 messages", got)
	}
	if len(r.Trimmable(1)) != 0 {
		t.Errorf("trimmable again: %+v", r.Trimmable(1))
	}
	check := func(kept ...Range) {
		t.Helper()
		if got := r.stored("a"); !slices.Equal(got, seqs(kept...)) {
			t.Errorf("stored %v, want %v", got, seqs(kept...))
		}
		if topic := r.topic("a"); topic.Kept.Messages != uint64(len(kept)) {
			t.Errorf("topic %+v, want %d messages kept", topic, len(kept))
		}
		r.sameAfterRestore()
	}
	check(m[0], m[1], m[5], m[6], m[7])
	if got := r.pending(1, 0); !slices.Equal(got, seqs(m[0], m[5], m[6], m[7])) {
		t.Errorf("pending %v", got)
	}
	// Totals on both sides of the hole are right; inside nobody knows.
	for i, x := range m {
		got, err := r.TotalsAt(1, x.From)
		switch i {
		case 2, 3:
			if !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("totals inside the hole, at message %d: %v %v", i, got, err)
			}
		default:
			if err != nil || got != x.At {
				t.Errorf("totals at message %d: %v %v, want %v", i, got, err, x.At)
			}
			if got, err := r.TotalsAt(1, x.From+1); err != nil || got != x.At { // a message of b
				t.Errorf("totals behind message %d: %v %v, want %v", i, got, err, x.At)
			}
		}
	}
	// Holes join, and go when the tail comes to them.
	r.confirm(1, m[5])
	r.confirm(2, m[1])
	if got := r.trim("a", over(m[5], m[5])); got.Messages != 1 {
		t.Errorf("trimmed %v", got)
	}
	check(m[0], m[1], m[6], m[7])
	if n := len(r.topics["a"].holes); n != 1 {
		t.Errorf("%d holes, want 1", n)
	}
	r.confirm(1, m[0])
	front, _ := r.TrimmableFront(1)
	if got := r.trim("a", front); got.Messages != 2 {
		t.Errorf("trimmed %v, want the 2 that were on disk", got)
	}
	check(m[6], m[7])
	if topic := r.topic("a"); len(r.topics["a"].holes) != 0 || topic.Tail.Totals != m[5].At {
		t.Errorf("topic %+v, holes %v", topic, r.topics["a"].holes)
	}
	if _, err := r.TotalsAt(1, m[2].From); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("totals below the tail: %v", err)
	}
}

func TestAHoleAtTheEnd(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	m := r.publish(lane, "a", 1, 2, 3)
	r.confirm(1, over(m[1], m[2]))
	r.trim("a", over(m[0], m[2]))
	if topic := r.topic("a"); topic.Head.Totals != m[2].At || topic.Kept.Messages != 1 {
		t.Errorf("topic %+v", topic)
	}
	r.sameAfterRestore()
	if got, err := r.TotalsAt(1, m[2].From); err != nil || got != m[2].At {
		t.Errorf("totals at the end: %v %v", got, err)
	}
	next := r.publish(lane, "a", 4)
	if next[0].Before != m[2].At {
		t.Errorf("totals after the hole: %+v", next[0])
	}
	r.sameAfterRestore()
}

func TestTrimsThatCantBeRightAreLeftOut(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	m := r.publish(lane, "a", 10, 10, 10, 10)
	r.confirm(1, over(m[1], m[2]))
	before := r.memory()
	for name, x := range map[string]Range{
		"backwards":       {From: m[2].From, Through: m[1].From, Before: m[1].Before, At: m[2].At},
		"negative":        {From: m[1].From, Through: m[2].From, Before: m[2].At, At: m[1].Before},
		"beyond the head": {From: m[1].From, Through: m[3].From + 1, Before: m[1].Before, At: m[2].At},
		"more than there": {From: m[1].From, Through: m[2].From, Before: m[1].Before, At: totals(9, 9000)},
		"wrong inside":    {From: m[1].From, Through: m[2].From, Before: m[1].Before, At: totals(m[2].At.Messages, m[1].At.Bytes)},
		"ends early":      {From: m[1].From, Through: m[3].From, Before: m[1].Before, At: m[1].At},
	} {
		if result := r.do(Command{Trim: []Trim{{Topic: 1, Range: x}}}); len(result.Faults) != 1 {
			t.Errorf("%s: faults %v, want one", name, result.Faults)
		}
		if got := r.memory(); got != before {
			t.Errorf("%s changed the state:\n%s", name, difference(before, got))
		}
	}
	r.fits(Command{Trim: []Trim{{Topic: 99, Range: m[1]}}}) // the topic may be gone by then
}

func TestAWalkSeesWhatWasThereAtItsStart(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	m := r.publish(lane, "a", 1, 1, 1, 1)
	w, err := r.Pending(1, m[1].From)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.confirm(1, over(m[0], m[3]))
	r.trim("a", over(m[0], m[3]))
	r.publish(lane, "a", 1)
	for _, x := range m[1:] {
		if !w.Next() || w.Message().Range() != x {
			t.Fatalf("message %+v, want %+v", w.Message(), x)
		}
	}
	if w.Next() {
		t.Errorf("one more: %+v", w.Message())
	}
	if _, err := r.Message(1, m[0].From); err != storage.ErrNotFound {
		t.Errorf("a deleted message: %v", err)
	}
}
