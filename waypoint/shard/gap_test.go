package shard

import (
	"testing"

	"github.com/posthouse/posthouse/storage"
)

// giveUp gives ranges up at the next index, which becomes the gap's version.
func (r *replica) giveUp(sub uint64, cause Cause, ranges ...Range) uint64 {
	r.t.Helper()
	r.fits(Command{GiveUp: []GiveUp{{Sub: sub, Cause: cause, Ranges: ranges}}})
	return r.index
}

func TestHeardClearsOnlyWhatThatVersionHad(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	m := r.publish(lane, "a", 1, 2, 3, 4, 5, 6)
	v1 := r.giveUp(1, CauseMessages, m[0], m[1])
	if g := r.cursor(1).Gap; g.Version != v1 || g.Messages != 2 || g.Bytes != 3+2*Overhead || len(g.Ranges) != 1 ||
		g.Ranges[0] != (GapRange{Version: v1, Topic: 1, From: m[0].From, Through: m[1].From, Messages: 2, Bytes: 3 + 2*Overhead,
			Cause: CauseMessages}) {
		t.Errorf("gap %+v", g)
	}
	v2 := r.giveUp(1, CauseAge, m[2], m[4])
	r.sameAfterRestore()
	if g := r.cursor(1).Gap; g.Version != v2 || g.Messages != 4 || g.Causes[CauseMessages] != 2 || g.Causes[CauseAge] != 2 || len(g.Ranges) != 3 {
		t.Errorf("gap %+v", g)
	}
	r.fits(Command{Heard: []Heard{{1, v1 - 1}, {9, v2}}})
	if g := r.cursor(1).Gap; g.Messages != 4 {
		t.Errorf("gap %+v", g)
	}
	r.fits(Command{Heard: []Heard{{1, v1}}})
	if g := r.cursor(1).Gap; g.Version != v2 || g.Messages != 2 || g.Causes[CauseMessages] != 0 || g.Causes[CauseAge] != 2 {
		t.Errorf("gap %+v", g)
	}
	r.sameAfterRestore()
	r.fits(Command{Heard: []Heard{{1, v2}}})
	if g := r.cursor(1).Gap; g.Version != 0 || g.Messages != 0 || len(g.Ranges) != 0 {
		t.Errorf("gap %+v", g)
	}
	if r.put.writes[storage.KeyGap] != 1 {
		t.Errorf("wrote %v", r.put.writes)
	}
	r.sameAfterRestore()
	// What is counted as given up stays.
	if c := r.cursor(1); c.GivenUp.Messages != 4 {
		t.Errorf("cursor %+v", c)
	}
}

// With a limit that is passed all the time, a gap grows at each entry and is told with each delivery; the subscriber
// confirms a while later. What it has confirmed goes, but for a small part.
func TestAGapThatGrowsAllTheTimeIsHeard(t *testing.T) {
	const late, rounds = 200, 3000
	var g gap
	var at uint64
	for version := uint64(1); version <= rounds; version++ {
		r := Range{From: version * 10, Through: version*10 + 3, Before: totals(at, at*100), At: totals(at+2, (at+2)*100)}
		at += 2
		g = g.grow(version, 1, r, CauseMessages)
		if version > late {
			g = g.heard(version - late)
		}
		if len(g) > MaxGapRanges {
			t.Fatalf("%d ranges", len(g))
		}
		told := g.told()
		since := 2 * min(version, late)
		if told.Version != version || told.Messages < since || told.Causes[CauseMessages] != told.Messages {
			t.Fatalf("version %d: told %+v, want at least %d messages", version, told, since)
		}
		if told.Messages > since+since/4+4 {
			t.Fatalf("version %d: told %d messages, of which only %d were not confirmed as heard", version, told.Messages, since)
		}
	}
}

func TestAGapsRangesEncloseWhatWasGivenUp(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	sizes := make([]int, 100)
	m := r.publish(lane, "a", sizes...)
	want := uint64(0)
	for i := 1; i < 100; i += 2 {
		r.giveUp(1, CauseExpired, m[i])
		want++
		g := r.cursor(1).Gap
		if g.Messages != want || len(g.Ranges) > MaxGapRanges {
			t.Fatalf("gap %+v, want %d messages", g, want)
		}
		sum := uint64(0)
		for _, x := range g.Ranges {
			sum += x.Messages
		}
		if sum != want || g.Ranges[0].From != m[1].From || g.Ranges[len(g.Ranges)-1].Through != m[i].From {
			t.Fatalf("gap %+v", g)
		}
		r.sameAfterRestore()
	}
}
