package shard

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/posthouse/posthouse/storage"
)

// openStore opens a store for one test. Its groups are replicas.
func openStore(t testing.TB) *storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), storage.Config{Dir: t.TempDir(), Cluster: "c", Node: "n", Reserve: -1,
		Fatal: func(msg string, err error) { panic(fmt.Sprint(msg, ": ", err)) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// replica is a Machine and what raft would do around it.
type replica struct {
	*Machine
	t     testing.TB
	state *storage.State
	index uint64
	now   int64
	put   counter // what commands wrote
}

func newReplica(t testing.TB, s *storage.Store, group uint32) *replica {
	t.Helper()
	state, err := s.State(group)
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{t: t, state: state, index: state.Applied(), now: 1_700_000_000_000}
	r.restart()
	return r
}

// restart forgets memory.
func (r *replica) restart() {
	r.t.Helper()
	r.Machine = New(Config{State: r.state, Fatal: func(msg string, err error) { panic(fmt.Sprint(msg, ": ", err)) }})
	if err := r.Restore(); err != nil {
		r.t.Fatalf("restore: %v", err)
	}
}

// counter passes writes on and counts them by the kind of their key.
type counter struct {
	to     *storage.Batch
	writes map[storage.KeyKind]int
	bytes  int
}

func (c *counter) count(key, value []byte) {
	if c.writes == nil {
		c.writes = make(map[storage.KeyKind]int)
	}
	c.writes[storage.KeyKind(key[0])]++
	c.bytes += len(key) + len(value)
}

func (c *counter) Set(key, value []byte) {
	c.count(key, value)
	c.to.Set(key, value)
}

func (c *counter) Delete(key []byte) {
	c.count(key, nil)
	c.to.Delete(key)
}

func (c *counter) DeleteRange(lower, upper []byte) {
	c.count(lower, upper)
	c.to.DeleteRange(lower, upper)
}

// do applies a command, at the next index, and verifies what must always hold.
func (r *replica) do(c Command) *Result {
	r.t.Helper()
	return r.doBytes(c.Encode(nil))
}

func (r *replica) doBytes(data []byte) *Result {
	r.t.Helper()
	r.index++
	b := r.state.NewBatch()
	defer b.Close()
	r.put = counter{to: b}
	result := r.apply(&r.put, Entry{Index: r.index, Time: r.now, Data: data})
	if err := b.Commit(r.index); err != nil {
		r.t.Fatal(err)
	}
	r.Applied(r.index)
	if err := r.Check(); err != nil {
		r.t.Fatalf("after entry %d: %v", r.index, err)
	}
	return result
}

// fits is do, for a command that must fit wholly.
func (r *replica) fits(c Command) *Result {
	r.t.Helper()
	result := r.do(c)
	if result.Err != nil || len(result.Faults) > 0 {
		r.t.Fatalf("entry %d: error %v, faults %v", r.index, result.Err, result.Faults)
	}
	return result
}

func (r *replica) dump() string {
	r.t.Helper()
	var b bytes.Buffer
	if err := r.Dump(&b); err != nil {
		r.t.Fatal(err)
	}
	return b.String()
}

// memory is what the Machine keeps in memory of the state, as text; what only speeds up reading is not in it.
func (r *replica) memory() string {
	var b strings.Builder
	h := r.header
	h.Time = 0 // of the last command that wrote it
	fmt.Fprintf(&b, "%+v\n", h)
	for _, t := range r.Topics() {
		t.Floor.Totals = Totals{} // not a part of the state
		fmt.Fprintf(&b, "%+v holes %+v\n", t, r.topics[t.Address].holes)
	}
	for _, c := range r.Cursors() {
		fmt.Fprintf(&b, "%+v ranges %+v failed %v\n", c, r.Ranges(c.Sub), r.cursors[c.Sub].failed)
	}
	for _, l := range r.Lanes() {
		fmt.Fprintf(&b, "%+v %+v\n", l, r.Refusals(l.ID))
	}
	return b.String()
}

// sameAfterRestore restarts, and compares memory before and after.
func (r *replica) sameAfterRestore() {
	r.t.Helper()
	before := r.memory()
	r.restart()
	if after := r.memory(); after != before {
		r.t.Fatalf("memory is not what was restored:\n%s", difference(before, after))
	}
}

// difference shows the lines that differ.
func difference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	var out strings.Builder
	for i := range max(len(as), len(bs)) {
		var x, y string
		if i < len(as) {
			x = as[i]
		}
		if i < len(bs) {
			y = bs[i]
		}
		if x != y {
			fmt.Fprintf(&out, "line %d\n- %s\n+ %s\n", i+1, x, y)
		}
	}
	return out.String()
}

// lane opens a lane.
func (r *replica) lane() uint64 {
	r.t.Helper()
	return r.fits(Command{LaneOpen: []LaneOpen{{Router: "router", Boot: 1}}}).Lanes[0].ID
}

func (r *replica) start(sub uint64, address string, limits Limits) {
	r.t.Helper()
	r.fits(Command{Start: []Start{{Sub: sub, Address: address, Limits: limits, Owner: "me", Name: fmt.Sprint("s", sub)}}})
}

// publish keeps messages of that many bytes, in one command, and returns them as ranges.
func (r *replica) publish(lane uint64, address string, sizes ...int) []Range {
	r.t.Helper()
	l, _ := r.Lane(lane)
	var c Command
	for i, size := range sizes {
		c.Publish = append(c.Publish, Publish{Lane: lane, N: l.Last + uint64(i) + 1, Address: address,
			Payload: bytes.Repeat([]byte{byte(i)}, size)})
	}
	var out []Range
	for i, p := range r.fits(c).Publish {
		if p.Status != StatusKept {
			r.t.Fatalf("publish %d: status %d", i, p.Status)
		}
		out = append(out, Single(p.At.Seq, p.At.Totals, sizes[i]))
	}
	return out
}

func (r *replica) confirm(sub uint64, ranges ...Range) {
	r.t.Helper()
	r.fits(Command{Confirm: []Confirm{{Sub: sub, Ranges: ranges}}})
}

func (r *replica) cursor(sub uint64) Cursor {
	r.t.Helper()
	c, ok := r.Cursor(sub)
	if !ok {
		r.t.Fatalf("subscription %d has no cursor", sub)
	}
	return c
}

// pending lists the seqs that a subscription has not settled, from storage.
func (r *replica) pending(sub, from uint64) []uint64 {
	r.t.Helper()
	w, err := r.Pending(sub, from)
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

// over is the range from a to b.
func over(a, b Range) Range {
	return Range{From: a.From, Through: b.Through, Before: a.Before, At: b.At}
}

func totals(messages, bytes uint64) Totals { return Totals{Messages: messages, Bytes: bytes} }
