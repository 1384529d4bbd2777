package agent

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/posthouse/posthouse/router/amqp"
)

// receipts notes answers.
type receipts struct {
	mu   sync.Mutex
	got  map[string]Answer
	list []string
}

type receipt struct {
	all  *receipts
	name string
}

func (r *receipt) Answered(a Answer) {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	if _, again := r.all.got[r.name]; again {
		panic("answered twice: " + r.name)
	}
	r.all.got[r.name] = a
	r.all.list = append(r.all.list, r.name+" "+a.Kind.String())
}

func newReceipts() *receipts { return &receipts{got: map[string]Answer{}} }

func (r *receipts) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

func (r *receipts) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

func (r *receipts) of(name string) Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[name]
}

func (w *world) publish(r *receipts, name string) {
	w.agent.Publish(Publish{Address: "a", Payload: []byte(name), Receipt: &receipt{r, name}})
}

// consumer notes its calls.
type consumer struct {
	mu     sync.Mutex
	calls  []string
	got    []Stored
	info   SubscriptionInfo
	state  SubscriptionState
	err    *amqp.Error
	credit uint32 // taken off by each delivery; a delivery without is an error
	keep   bool   // doesn't release

	draining bool
	over     uint32 // came when the credit had just been taken back
	t        *testing.T
}

func (c *consumer) note(format string, args ...any) {
	c.calls = append(c.calls, fmt.Sprintf(format, args...))
}

func (c *consumer) Attached(i SubscriptionInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.info = i
	c.note("attached")
}

func (c *consumer) Refused(err *amqp.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	c.note("refused %s", err.Condition)
}

func (c *consumer) Deliver(d Stored) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// One call may have been on its way when the credit was lowered. A router keeps that one for the next credit.
	switch {
	case c.credit > 0:
		c.credit--
	case c.over == 0:
		c.over = 1
	default:
		c.t.Errorf("delivery %d without credit", d.Handle.Seq)
	}
	c.got = append(c.got, d)
	c.note("deliver %d", d.Handle.Seq)
	if !c.keep {
		d.Release()
	}
}

func (c *consumer) Settled(handles []Handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range handles {
		c.note("settled %d", h.Seq)
	}
}

func (c *consumer) Drained() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		c.credit, c.draining = 0, false
	}
	c.note("drained")
}

func (c *consumer) State(s SubscriptionState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = s
}

func (c *consumer) Ended(err *amqp.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	c.note("ended %s", err.Condition)
}

func (c *consumer) take() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	c.calls = nil
	return calls
}

func (c *consumer) deliveries() []Stored {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// allow sets the credit, as a client's flow does.
func (c *consumer) allow(s *Subscription, n uint32, drain bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, c.over = n-min(n, c.over), c.over-min(n, c.over)
	c.credit, c.draining = n, drain
	s.CreditAt(uint64(len(c.got)), n, drain)
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("\n got %q\nwant %q", got, want)
	}
}
