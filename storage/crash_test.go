package storage_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/storagetest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, cfg storage.Config) *storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), cfg)
	must(t, err)
	return s
}

func stateOf(t testing.TB, s *storage.Store, group uint32) *storage.State {
	t.Helper()
	st, err := s.State(group)
	must(t, err)
	return st
}

// model is what one group should hold, as far as its user was told.
type model struct {
	group    uint32
	entries  []storage.Entry // since the log was empty; those before first may or may not be there
	first    uint64
	term     uint64
	voteTerm uint64
	vote     string

	commits []uint64 // applied indexes, in order
	durable uint64   // at least that one survives
	record  uint64   // index of the snapshot record
}

func (m model) clone() model {
	m.entries = append([]storage.Entry(nil), m.entries...)
	m.commits = append([]uint64(nil), m.commits...)
	return m
}

func (m *model) last() uint64 {
	if len(m.entries) == 0 {
		return 0
	}
	return m.entries[len(m.entries)-1].Index
}

func (m *model) cutFrom(i uint64) {
	for len(m.entries) > 0 && m.last() >= i {
		m.entries = m.entries[:len(m.entries)-1]
	}
	if m.last() < m.first {
		m.entries, m.first = nil, 0
	}
}

// contents is the state after the commits up to index: each writes its number under one of ten keys, and now
// and then removes some.
func (m *model) contents(index uint64) map[string]string {
	all := make(map[string]string)
	for _, n := range m.commits {
		if n > index {
			break
		}
		write(n, func(k, v string) { all[k] = v }, func(lo, hi string) {
			maps.DeleteFunc(all, func(k, _ string) bool { return lo <= k && k < hi })
		})
	}
	return all
}

func write(n uint64, set func(k, v string), remove func(lo, hi string)) {
	if n%7 == 0 {
		remove(fmt.Sprint("k", n%10), fmt.Sprint("k", n%10+3))
	}
	set(fmt.Sprint("k", n%10), fmt.Sprintf("%04096d", n))
}

// player plays random steps on a Store and keeps the models.
type player struct {
	t      *testing.T
	rng    *rand.Rand
	s      *storage.Store
	groups []*model
	prefer int // kind of step that comes more often
}

// kinds are the steps that reach a crash point, by its first word.
var kinds = map[string]int{
	"term": 0, "vote": 2, "append": 3, "truncate": 10, "release": 13, "flush": 14, "record": 15, "commit": 19,
}

// step does one thing. before is the model as it was: when the power fails within the step, either will do.
func (p *player) step() (before model, m *model) {
	m = p.groups[p.rng.IntN(len(p.groups))]
	before = m.clone()
	t, l, st := p.t, p.s.Log(m.group), stateOf(p.t, p.s, m.group)
	kind := p.rng.IntN(20)
	if p.rng.IntN(4) == 0 {
		kind = p.prefer
	}
	switch kind {
	case 0, 1:
		m.term += uint64(p.rng.IntN(3))
		must(t, l.SetTerm(m.term))
	case 2:
		m.term++
		m.voteTerm, m.vote = m.term, fmt.Sprint("n", p.rng.IntN(5))
		must(t, l.SetVote(m.voteTerm, m.vote))
	case 3, 4, 5, 6, 7, 8:
		p.append(m, m.last()+1)
	case 9: // conflict, replaced in one write
		if len(m.entries) > 0 {
			p.append(m, m.last()-uint64(p.rng.IntN(len(m.entries))))
		}
	case 10: // conflict, cut first
		if len(m.entries) > 0 {
			i := m.last() + 1 - uint64(p.rng.IntN(len(m.entries)+1))
			m.cutFrom(i)
			must(t, l.TruncateFrom(i))
		}
	case 11, 12:
		if len(m.entries) > 0 {
			i := m.first + uint64(p.rng.IntN(len(m.entries)+1))
			m.first = max(m.first, i)
			if i > m.last() {
				m.entries, m.first = nil, 0
			}
			must(t, l.TruncateBefore(i))
		}
	case 13:
		must(t, l.ReleaseSpace())
	case 14:
		must(t, st.Flush(t.Context()))
		m.durable = st.Applied()
	case 15:
		m.record = st.Applied() + uint64(p.rng.IntN(2))
		must(t, st.PutSnapshotRecord(t.Context(), storage.SnapshotRecord{Index: m.record, Term: m.term}))
		m.durable = max(m.durable, m.record)
	default:
		for range 1 + p.rng.IntN(8) {
			p.commit(m, st)
		}
	}
	return before, m
}

func (p *player) append(m *model, from uint64) {
	if len(m.entries) == 0 {
		from = 1 + uint64(p.rng.IntN(100))
	}
	m.cutFrom(from)
	if len(m.entries) == 0 {
		m.first = from
	}
	var add []storage.Entry
	for i := from; i < from+1+uint64(p.rng.IntN(6)); i++ {
		add = append(add, storage.Entry{Index: i, Term: m.term, Data: fmt.Appendf(nil, "%d/%d/%0*d", i, m.term, p.rng.IntN(9000), 1)})
	}
	m.entries = append(m.entries, add...)
	must(p.t, p.s.Log(m.group).Append(add))
}

func (p *player) commit(m *model, st *storage.State) {
	n := st.Applied() + 1 + uint64(p.rng.IntN(2))
	b := st.NewBatch()
	defer b.Close()
	write(n, func(k, v string) { b.Set([]byte(k), []byte(v)) }, func(lo, hi string) { b.DeleteRange([]byte(lo), []byte(hi)) })
	m.commits = append(m.commits, n)
	must(p.t, b.Commit(n))
}

// verify holds a reopened Store against a model.
func verify(s *storage.Store, m *model) error {
	if err := verifyLog(s.Log(m.group), m); err != nil {
		return err
	}
	return verifyState(s, m)
}

func verifyLog(l *storage.Log, m *model) error {
	term, vote, _ := l.Vote()
	switch {
	case l.Damage() != nil:
		return l.Damage()
	case l.Last() != m.last():
		return fmt.Errorf("log ends at %d, not at %d", l.Last(), m.last())
	case l.First() > m.first || len(m.entries) > 0 && l.First() < m.entries[0].Index:
		return fmt.Errorf("log begins at %d, not at %d", l.First(), m.first)
	case l.Term() != m.term || term != m.voteTerm || vote != m.vote:
		return fmt.Errorf("term %d vote %d %s, want %d %d %s", l.Term(), term, vote, m.term, m.voteTerm, m.vote)
	}
	for _, want := range m.entries {
		e, err := l.Entry(want.Index)
		switch {
		case want.Index < l.First():
			if err != storage.ErrNotFound {
				return fmt.Errorf("entry %d below the first: %v", want.Index, err)
			}
		case err != nil || e.Term != want.Term || string(e.Data) != string(want.Data):
			return fmt.Errorf("entry %d: term %d %.20q %v, want term %d %.20q", want.Index, e.Term, e.Data, err, want.Term, want.Data)
		}
	}
	if _, err := l.Entry(m.last() + 1); err != storage.ErrNotFound {
		return fmt.Errorf("an entry above the last: %v", err)
	}
	return nil
}

func verifyState(s *storage.Store, m *model) error {
	st, err := s.State(m.group)
	if err != nil {
		return err
	}
	if st.Applied() < m.durable {
		return fmt.Errorf("applied %d, but %d was durable", st.Applied(), m.durable)
	}
	got := make(map[string]string)
	if err := st.Scan(nil, nil, func(k, v []byte) bool { got[string(k)] = string(v); return true }); err != nil {
		return err
	}
	if !maps.Equal(got, m.contents(st.Applied())) {
		return fmt.Errorf("state at %d is not what was committed up to there", st.Applied())
	}
	r, err := st.SnapshotRecord()
	if errors.Is(err, storage.ErrNotFound) {
		err = nil
	}
	if r.Index < m.record {
		return fmt.Errorf("snapshot record at %d, but %d was durable", r.Index, m.record)
	}
	return err
}

// settle makes the model what the Store holds after a crash: what was not synced is gone.
func settle(s *storage.Store, st *storage.State, m *model) {
	for len(m.commits) > 0 && m.commits[len(m.commits)-1] > st.Applied() {
		m.commits = m.commits[:len(m.commits)-1]
	}
	m.durable = st.Applied()
	l := s.Log(m.group)
	for len(m.entries) > 0 && m.entries[0].Index < l.First() {
		m.entries = m.entries[1:]
	}
	m.first = l.First()
}

// The power fails at every kind of point, within whatever was going on, three times in a row. What was
// answered is there, what was not is there whole or not at all, and nothing else ever comes to light.
func TestPowerLossKeepsWhatWasAnswered(t *testing.T) {
	points := []string{
		"append.before", "append.synced", "term.before", "term.synced", "vote.before", "vote.synced",
		"truncate.marked", "truncate.before", "truncate.synced", "release.before", "release.done",
		"commit.before", "commit.done", "flush.before", "flush.done", "record.committed", "record.durable",
	}
	seeds := uint64(3)
	if testing.Short() {
		seeds = 1
	}
	for _, point := range points {
		for seed := range seeds {
			t.Run(fmt.Sprintf("%s/%d", point, seed), func(t *testing.T) {
				t.Parallel()
				playCrashes(t, point, seed)
			})
		}
	}
}

func playCrashes(t *testing.T, point string, seed uint64) {
	fs := storagetest.New()
	word, _, _ := strings.Cut(point, ".")
	p := &player{t: t, rng: rand.New(rand.NewPCG(seed, 99)), groups: []*model{{group: 0}, {group: 7}, {group: 1<<32 - 1}}, prefer: kinds[word]}
	for life := range uint64(3) {
		p.s = open(t, storagetest.Config(t, fs, "data"))
		for _, m := range p.groups {
			if err := verify(p.s, m); err != nil {
				t.Fatalf("life %d, group %d (%d..%d, term %d): %v", life, m.group, m.first, m.last(), m.term, err)
			}
			settle(p.s, stateOf(t, p.s, m.group), m)
		}
		for range p.rng.IntN(60) {
			p.step()
		}
		crashed := fs.CrashAt(point, p.rng.IntN(4), []int{0, 50, 95}[p.rng.IntN(3)], seed)
		var before model
		var m *model
		var next *storagetest.FS
		for tries := 0; next == nil; tries++ {
			if tries > 3000 {
				t.Fatalf("point %s is never reached", point)
			}
			before, m = p.step()
			select {
			case next = <-crashed:
			default:
			}
		}
		must(t, p.s.Close())
		fs = next
		// The step that was cut off has happened or not, so one of the two models holds.
		p.s = open(t, storagetest.Config(t, fs, "data"))
		if err := verify(p.s, m); err != nil {
			if err2 := verify(p.s, &before); err2 != nil {
				t.Fatalf("life %d, group %d: neither as after the step: %v\nnor as before it: %v", life, m.group, err, err2)
			}
			*m = before
		}
		fs = fs.Crash(0, seed) // what was found is durable
		must(t, p.s.Close())
	}
}

func TestKilledProcessLosesOnlyWhatWasNotFlushed(t *testing.T) {
	fs := storagetest.New()
	s := open(t, storagetest.Config(t, fs, "data"))
	must(t, s.Log(1).Append([]storage.Entry{{Index: 1, Term: 1, Data: []byte("x")}}))
	st := stateOf(t, s, 1)
	b := st.NewBatch()
	b.Set([]byte("k"), []byte("1"))
	must(t, b.Commit(1))
	must(t, st.Flush(context.Background()))
	b.Set([]byte("k"), []byte("2"))
	must(t, b.Commit(2))
	if d, err := st.DurableApplied(); err != nil || d != 1 || st.Applied() != 2 {
		t.Fatalf("durable %d applied %d %v", d, st.Applied(), err)
	}
	killed := fs.Kill()
	must(t, s.Close())
	s = open(t, storagetest.Config(t, killed, "data"))
	defer func() { must(t, s.Close()) }()
	v, err := stateOf(t, s, 1).Get([]byte("k"))
	if err != nil || string(v) != "1" || stateOf(t, s, 1).Applied() != 1 || s.Log(1).Last() != 1 {
		t.Fatalf("%s %v applied %d last %d", v, err, stateOf(t, s, 1).Applied(), s.Log(1).Last())
	}
}
