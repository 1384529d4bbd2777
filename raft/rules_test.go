package raft

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	hraft "github.com/hashicorp/raft"
)

func TestEnvelopeFits(t *testing.T) {
	at := position{term: 5, n: 3, clock: 1000}
	for _, tc := range []struct {
		name  string
		entry uint64
		e     envelope
		want  bool
	}{
		{"next of the term", 5, envelope{term: 5, n: 4}, true},
		{"repeated", 5, envelope{term: 5, n: 3}, false},
		{"hole", 5, envelope{term: 5, n: 5}, false},
		{"first of a newer term", 7, envelope{term: 7, n: 1}, true},
		{"second of a newer term", 7, envelope{term: 7, n: 2}, false},
		{"made in one term, landed in another", 7, envelope{term: 5, n: 4}, false},
		{"of an older term", 4, envelope{term: 4, n: 1}, false},
	} {
		if got := at.fits(tc.entry, tc.e); got != tc.want {
			t.Errorf("%s: fits = %v", tc.name, got)
		}
	}
	if got := at.next(envelope{term: 5, n: 4, time: 900}); got != (position{5, 4, 1000}) {
		t.Errorf("time ran backwards: %+v", got)
	}
}

func TestEnvelopeBytes(t *testing.T) {
	e := envelope{1, 2, -3}
	b := e.append(nil)
	if got, err := parseEnvelope(b); err != nil || got != e {
		t.Errorf("read %+v, %v", got, err)
	}
	newer := slices.Clone(b)
	newer[0]++
	for name, bad := range map[string][]byte{"none": nil, "short": b[:len(b)-1], "long": append(slices.Clone(b), 0), "newer version": newer} {
		if _, err := parseEnvelope(bad); !errors.Is(err, errEnvelope) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := position{4, 5, 6}
	if got, err := parsePosition(p.append(nil)); err != nil || got != p {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestMajorityTime(t *testing.T) {
	now := time.Now()
	since := now.Add(-time.Second)
	told := func(clock int64) reading { return reading{clock, now, true} }
	late := func(clock int64) reading { return reading{clock, since.Add(-time.Millisecond), true} }
	for _, tc := range []struct {
		name   string
		voters []reading
		want   int64
		ok     bool
	}{
		{"one", []reading{told(100)}, 100, true},
		{"three alike", []reading{told(100), told(100), told(100)}, 100, true},
		{"one ahead", []reading{told(3700), told(101), told(100)}, 101, true},
		{"one behind", []reading{told(1), told(101), told(100)}, 100, true},
		{"one unknown", []reading{told(102), {}, told(100)}, 100, true},
		{"two unknown", []reading{told(102), {}, {}}, 0, false},
		{"two told before the term", []reading{told(102), late(200), late(200)}, 0, false},
		{"one ahead, one told before the term", []reading{told(3700), late(100), told(100)}, 100, true},
		{"four: three of them", []reading{told(4), told(3), told(2), told(1)}, 2, true},
		{"five", []reading{told(5), told(4), told(3), told(2), told(1)}, 3, true},
		{"nobody", nil, 0, false},
	} {
		if got, ok := majorityTime(tc.voters, since); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %d, %v; want %d, %v", tc.name, got, ok, tc.want, tc.ok)
		}
	}
}

func TestJudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var idle, busy operation
		ops := []*operation{&idle, &busy}
		want := func(j judgement) {
			t.Helper()
			if got := judge(ops, time.Second, 10*time.Second); got != j {
				t.Errorf("judged %d, want %d", got, j)
			}
		}
		time.Sleep(time.Hour)
		want(judgedFine)
		busy.begin()
		time.Sleep(time.Second)
		want(judgedFine)
		time.Sleep(time.Millisecond)
		want(judgedStalled)
		busy.excuse(time.Second) // waiting for space counts for no hang, and cuts all the same
		time.Sleep(9500 * time.Millisecond)
		want(judgedStalled)
		time.Sleep(time.Second)
		want(judgedHung)
		busy.end()
		want(judgedFine)
		busy.excuse(time.Hour) // of nothing
		busy.begin()
		time.Sleep(11 * time.Second)
		want(judgedHung)
	})
}

func TestPreferredLeader(t *testing.T) {
	abc := []string{"c", "a", "b"}
	all := map[string]bool{"a": true, "b": true, "c": true}
	noB := map[string]bool{"a": true, "c": true}
	for _, tc := range []struct {
		group uint32
		able  map[string]bool
		want  string
	}{
		{0, all, "a"}, {1, all, "b"}, {2, all, "c"}, {3, all, "a"},
		{0, noB, "a"}, {2, noB, "c"}, {1, noB, "a"}, {4, noB, "c"}, // b's go to both of the others
		{1, map[string]bool{"c": true}, "c"},
		{1, nil, ""},
	} {
		if got, ok := preferredLeader(tc.group, slices.Clone(abc), tc.able); got != tc.want || ok != (tc.want != "") {
			t.Errorf("group %d with %v: %q", tc.group, tc.able, got)
		}
	}
}

func TestNextChange(t *testing.T) {
	voter := func(id string) Member { return Member{Replica: id, Node: nodeOf(id), Voter: true} }
	guest := func(id string) Member { return Member{Replica: id, Node: nodeOf(id)} }
	three := []Member{voter("a/1.0"), voter("b/1.0"), voter("c/1.0")}
	a, b := candidate{server: "a/1.0", last: 500}, candidate{server: "b/1.0", last: 500, memberAt: 1}
	for _, tc := range []struct {
		name    string
		members []Member
		c       candidate // of node c
		want    change
	}{
		{"all is well", three, candidate{server: "c/1.0", last: 100, memberAt: 1}, change{}},
		{"a new directory", three, candidate{server: "c/2.0"}, change{removeServer, "c/1.0"}},
		{"then without a vote", three[:2], candidate{server: "c/2.0"}, change{addNonvoter, "c/2.0"}},
		{"behind", append(slices.Clone(three[:2]), guest("c/2.0")), candidate{server: "c/2.0", last: 400}, change{}},
		{"caught up", append(slices.Clone(three[:2]), guest("c/2.0")), candidate{server: "c/2.0", last: 500}, change{addVoter, "c/2.0"}},
		{"empty, and nothing is committed", append(slices.Clone(three[:2]), guest("c/2.0")), candidate{server: "c/2.0"}, change{}},
		{"removed, and back", three[:2], candidate{server: "c/1.0", last: 400, memberAt: 7}, change{}},
		{"replaced, and back", append(slices.Clone(three[:2]), voter("c/2.0")), candidate{server: "c/1.0", last: 400, memberAt: 7}, change{}},
		{"added later than we know", three[:2], candidate{server: "c/2.0", last: 400, memberAt: 60}, change{addNonvoter, "c/2.0"}},
	} {
		got, ok := nextChange(tc.members, map[string]candidate{"a": a, "b": b, "c": tc.c}, 500, 50)
		if got != tc.want || ok != (tc.want != change{}) {
			t.Errorf("%s: %v %v, want %v", tc.name, got.what, got.server, tc.want)
		}
	}
}

// A replica keeps pace under any load if it has what was committed when its report was made; one that falls behind does not.
func TestPace(t *testing.T) {
	p := pace{behind: 600 * time.Millisecond}
	start := time.Now()
	for ms := 0; ms < 5000; ms += 50 {
		now, commit := start.Add(time.Duration(ms)*time.Millisecond), uint64(1000+5*ms) // 5000 entries a second
		due := p.due(now, commit)
		if ms >= 600 && (due > commit-5*600 || due < commit-5*800) {
			t.Fatalf("after %d ms %d is due of %d", ms, due, commit)
		}
		if ms < 600 && due != commit {
			t.Fatalf("after %d ms %d is due; nothing old enough is known", ms, due)
		}
		if len(p.samples) > 12 {
			t.Fatalf("%d samples are kept", len(p.samples))
		}
	}
}

// What a snapshot covers is left out of an AppendEntries, and its commit index is brought down to what it proves.
func TestAdaptAppend(t *testing.T) {
	snap := snapshotMark{index: 100, term: 3}
	for _, tc := range []struct {
		name                  string
		prev, term            uint64
		from, n               uint64 // entries, of term 3 up to 100 and 4 behind
		first                 uint64 // of the log
		commit                uint64
		wantPrev, wantFrom, l uint64
		wantCommit            uint64
	}{
		{"heartbeat", 0, 0, 0, 0, 90, 0, 0, 0, 0, 0},
		{"in the log", 95, 3, 96, 10, 90, 200, 95, 96, 10, 105},
		{"behind the snapshot", 110, 4, 111, 2, 90, 500, 110, 111, 2, 112},
		{"partly covered", 80, 3, 81, 30, 95, 500, 0, 101, 10, 110},
		{"wholly covered", 80, 3, 81, 10, 95, 500, 0, 0, 0, 90},
		{"at the snapshot, which the log begins behind", 100, 3, 101, 5, 101, 500, 0, 101, 5, 105},
		{"at the snapshot, of another term", 100, 2, 101, 5, 101, 500, 100, 101, 5, 105},
		{"from the start", 0, 0, 1, 16, 95, 500, 0, 0, 0, 16},
		{"empty log", 80, 3, 81, 30, 0, 500, 0, 101, 10, 110},
		{"nothing but the commit index", 80, 3, 0, 0, 95, 500, 0, 0, 0, 80},
	} {
		req := &hraft.AppendEntriesRequest{PrevLogEntry: tc.prev, PrevLogTerm: tc.term, LeaderCommitIndex: tc.commit}
		for i := range tc.n {
			l := &hraft.Log{Index: tc.from + i, Term: 3}
			if l.Index > 100 {
				l.Term = 4
			}
			req.Entries = append(req.Entries, l)
		}
		adaptAppend(req, tc.first, snap)
		var from uint64
		if len(req.Entries) > 0 {
			from = req.Entries[0].Index
		}
		if req.PrevLogEntry != tc.wantPrev || from != tc.wantFrom || uint64(len(req.Entries)) != tc.l || req.LeaderCommitIndex != tc.wantCommit {
			t.Errorf("%s: prev %d, %d entries from %d, commit %d", tc.name, req.PrevLogEntry, len(req.Entries), from, req.LeaderCommitIndex)
		}
	}
	wrong := &hraft.AppendEntriesRequest{PrevLogEntry: 98, PrevLogTerm: 3, Entries: []*hraft.Log{{Index: 99, Term: 3}, {Index: 100, Term: 2}, {Index: 101, Term: 4}}}
	adaptAppend(wrong, 101, snap)
	if len(wrong.Entries) != 3 {
		t.Error("entries that contradict the snapshot are left out")
	}
}
