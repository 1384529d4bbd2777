package leader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/storagetest"
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is one replica of a shard with its leader, and agents that talk to it. Tests run under synctest: between two steps
// everything has come to rest.
type world struct {
	t       testing.TB
	config  Config
	store   *storage.Store
	state   *storage.State
	machine *shard.Machine
	raft    *fakeRaft
	leader  *Leader

	mu      sync.Mutex
	server  *server // of the present reign
	stopped int

	pressure atomic.Pointer[peer.Pressure] // nil: the memory's
	memory   *Memory
	subs     uint64
}

// newWorld opens a store in memory and leads.
func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, memory: NewMemory(1 << 30)}
	fatal := func(msg string, err error) { panic(fmt.Sprint(msg, ": ", err)) }
	var err error
	w.store, err = storage.Open(context.Background(), storage.Config{Dir: "data", FS: storagetest.New().Handle(), Cluster: "c", Node: "n",
		Reserve: -1, Fatal: fatal})
	if err != nil {
		t.Fatal(err)
	}
	if w.state, err = w.store.State(1); err != nil {
		t.Fatal(err)
	}
	w.machine = shard.New(shard.Config{State: w.state, Fatal: fatal})
	if err := w.machine.Restore(); err != nil {
		t.Fatal(err)
	}
	w.raft = &fakeRaft{w: w, turn: 1, term: 1}
	w.config = Config{
		Shard: 1, Machine: w.machine, Raft: w.raft, Serve: w.serve,
		Pressure: func() peer.Pressure {
			if p := w.pressure.Load(); p != nil {
				return *p
			}
			return peer.Pressure{Level: w.memory.Level(), Reason: peer.ReasonMemory}
		},
		Memory: w.memory,
		Logger: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&w.config)
	}
	if w.leader, err = New(w.config); err != nil {
		t.Fatal(err)
	}
	w.lead()
	return w
}

// inWorld runs a test in a bubble of its own time.
func inWorld(t *testing.T, change func(*Config), test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, change)
		defer w.close()
		test(t, w)
	})
}

func (w *world) close() {
	w.leader.Close()
	if err := w.machine.Check(); err != nil {
		w.t.Errorf("the state does not add up: %v", err)
	}
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
}

// settle waits until nothing happens any more without time passing.
func (w *world) settle() { synctest.Wait() }

func (w *world) serve(term uint64, s peer.Server) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.server = s.(*server)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.server = nil
		w.stopped++
	}
}

func (w *world) lead() {
	w.leader.Lead(raft.Leadership{Leader: true, Term: w.raft.term, Turn: w.raft.turn, LeaderNode: "n"})
	w.settle()
}

// depose takes the leadership away; elect gives it back, in a new term.
func (w *world) depose() {
	w.raft.mu.Lock()
	w.raft.turn++
	w.raft.term++
	w.raft.mu.Unlock()
	w.leader.Lead(raft.Leadership{Term: w.raft.term, LeaderNode: "other"})
	w.settle()
}

func (w *world) elect() { w.lead() }

// restart makes a new leader of the state as it is, as on another replica: nothing is left of the old one's memory.
func (w *world) restart() {
	w.t.Helper()
	w.depose()
	w.leader.Close()
	w.machine = shard.New(shard.Config{State: w.state, Fatal: func(msg string, err error) { panic(fmt.Sprint(msg, ": ", err)) }})
	if err := w.machine.Restore(); err != nil {
		w.t.Fatal(err)
	}
	w.config.Machine = w.machine
	var err error
	if w.leader, err = New(w.config); err != nil {
		w.t.Fatal(err)
	}
	w.elect()
}

// request asks the leader and waits for its answer.
func (w *world) request(op string, in, out any) {
	w.t.Helper()
	if err := w.tryRequest(op, in, out); err != nil {
		w.t.Fatalf("request %s: %v", op, err)
	}
}

func (w *world) tryRequest(op string, in, out any) error {
	w.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		w.t.Fatal(err)
	}
	type answer struct {
		body []byte
		err  error
	}
	answers := make(chan answer, 2)
	w.leader.Handle("meta", op, body, func(body []byte, err error) { answers <- answer{body, err} })
	a := <-answers
	if a.err == nil && out != nil {
		if err := json.Unmarshal(a.body, out); err != nil {
			w.t.Fatal(err)
		}
	}
	return a.err
}

// start makes a cursor and returns its subscription's id.
func (w *world) start(address string, limits peer.Limits) uint64 {
	w.t.Helper()
	w.subs++
	var out peer.CursorsResponse
	w.request(peer.OpCursors, peer.CursorsRequest{Start: []peer.StartCursor{{Sub: w.subs, Address: address, Owner: "me",
		Name: fmt.Sprint("s", w.subs), Limits: limits}}}, &out)
	if len(out.Refused) > 0 {
		w.t.Fatalf("start: %+v", out)
	}
	return w.subs
}

func (w *world) setLimits(sub uint64, limits peer.Limits) {
	w.t.Helper()
	w.request(peer.OpCursors, peer.CursorsRequest{Limits: []peer.CursorLimits{{Sub: sub, Limits: limits}}}, nil)
	w.settle()
}

func (w *world) end(sub uint64) {
	w.t.Helper()
	w.request(peer.OpCursors, peer.CursorsRequest{End: []uint64{sub}}, nil)
	w.settle()
}

func (w *world) stats(sub uint64) peer.CursorStats {
	w.t.Helper()
	var out peer.StatsResponse
	w.request(peer.OpStats, peer.StatsRequest{Subs: []uint64{sub}}, &out)
	if len(out.Stats) != 1 {
		w.t.Fatalf("stats of %d: %+v", sub, out)
	}
	return out.Stats[0]
}

func (w *world) cursor(sub uint64) shard.Cursor {
	w.t.Helper()
	cur, ok := w.machine.Cursor(sub)
	if !ok {
		w.t.Fatalf("subscription %d has no cursor", sub)
	}
	return cur
}

// pending lists the seqs of a backlog.
func (w *world) pending(sub uint64) (seqs []uint64) {
	w.t.Helper()
	walk, err := w.machine.Pending(sub, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for walk.Next() {
		seqs = append(seqs, walk.Message().Seq)
	}
	if err := walk.Close(); err != nil {
		w.t.Fatal(err)
	}
	return seqs
}

// fakeRaft applies what is proposed: at once, or when it is let.
type fakeRaft struct {
	w *world

	mu         sync.Mutex
	turn, term uint64
	index      uint64
	ahead      int64 // the group's clock is that far before the bubble's, in milliseconds
	hold       bool  // keep proposals until release
	held       []proposal
	fail       error // tell this instead; the command is applied if it is ErrUnknown
	overloaded int   // refuse that many
	verify     error
	entries    []*shard.Command
	bytes      int
}

type proposal struct {
	data []byte
	done func(any, error)
}

func (f *fakeRaft) Propose(turn uint64, data []byte, done func(any, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case turn != f.turn:
		done(nil, raft.ErrNotLeader)
	case f.overloaded > 0:
		f.overloaded--
		done(nil, raft.ErrOverloaded)
	case f.hold:
		f.held = append(f.held, proposal{data, done})
	default:
		f.applyLocked(proposal{data, done})
	}
}

// release applies what was held.
func (f *fakeRaft) release() {
	f.mu.Lock()
	held := f.held
	f.held, f.hold = nil, false
	for _, p := range held {
		f.applyLocked(p)
	}
	f.mu.Unlock()
	f.w.settle()
}

// drop forgets what was held: it is never applied.
func (f *fakeRaft) drop(err error) {
	f.mu.Lock()
	held := f.held
	f.held, f.hold = nil, false
	f.mu.Unlock()
	for _, p := range held {
		p.done(nil, err)
	}
	f.w.settle()
}

func (f *fakeRaft) applyLocked(p proposal) {
	fail := f.fail
	f.fail = nil
	if fail != nil && !errors.Is(fail, raft.ErrUnknown) {
		p.done(nil, fail)
		return
	}
	c := new(shard.Command)
	if err := c.Decode(append([]byte(nil), p.data...)); err != nil {
		f.w.t.Errorf("proposed: %v", err)
	}
	f.entries = append(f.entries, c)
	f.bytes += len(p.data)
	f.index++
	b := f.w.state.NewBatch()
	defer b.Close()
	res := f.w.machine.Apply(b, shard.Entry{Index: f.index, Time: f.nowLocked(), Data: p.data})
	if err := b.Commit(f.index); err != nil {
		f.w.t.Errorf("commit: %v", err)
	}
	f.w.machine.Applied(f.index)
	if len(res.Faults) > 0 || res.Err != nil {
		f.w.t.Errorf("entry %d: faults %+v, error %v", f.index, res.Faults, res.Err)
	}
	p.done(res, fail)
}

func (f *fakeRaft) nowLocked() int64 { return time.Now().UnixMilli() + f.ahead }

func (f *fakeRaft) Now() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nowLocked()
}

func (f *fakeRaft) VerifyLeader(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.verify
}

// set changes how it behaves.
func (f *fakeRaft) set(change func(*fakeRaft)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// all is the entries so far, count their number, size their bytes, waiting what is held back.
func (f *fakeRaft) all() []*shard.Command {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.entries)
}

func (f *fakeRaft) count() int { return len(f.all()) }

func (f *fakeRaft) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bytes
}

func (f *fakeRaft) waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.held)
}

// testLog shows the log with a test that fails.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
