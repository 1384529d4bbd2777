package actor

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/test/check"
	"github.com/posthouse/posthouse/test/proc"
)

// Patience bounds every wait for something that must happen. It is a bound on a broken cluster, not a measure of a
// good one.
const Patience = 60 * time.Second

// Story is a test on a cluster, with its ledger and its actors.
type Story struct {
	T       testing.TB
	Cluster *proc.Cluster
	Ledger  *check.Ledger

	began time.Time
	id    string
	mu    sync.Mutex
	uses  map[string]int // name -> how often it was given out
	all   []func()       // how to stop each actor; the last first
	over  bool           // the test has ended: whoever still runs may not speak
}

var stories atomic.Int64

// Begin opens a story. Its actors are stopped with the test, if End has not stopped them.
func Begin(t testing.TB, c *proc.Cluster) *Story {
	s := &Story{T: t, Cluster: c, Ledger: check.New(), began: time.Now(), id: fmt.Sprint(stories.Add(1)), uses: map[string]int{}}
	t.Cleanup(func() {
		s.stop()
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
	})
	return s
}

// Name makes a name that no other story on this cluster uses.
func (s *Story) Name(name string) string { return name + "." + s.id }

// End stops all actors and judges what they wrote down.
func (s *Story) End() *check.Verdict {
	s.T.Helper()
	s.stop()
	v := s.Ledger.Verify()
	if v.OK() {
		s.T.Log(v)
	} else {
		s.T.Errorf("promises broken: %s", v)
	}
	return v
}

// Step says in the test's log what comes next, and when.
func (s *Story) Step(format string, args ...any) {
	s.T.Helper()
	s.T.Logf("%6.2fs "+format, append([]any{time.Since(s.began).Seconds()}, args...)...)
}

func (s *Story) stop() {
	s.mu.Lock()
	all := s.all
	s.all = nil
	s.mu.Unlock()
	for i := len(all) - 1; i >= 0; i-- {
		all[i]()
	}
}

func (s *Story) onStop(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, f)
}

// errorf fails the test from any goroutine, unless it is over.
func (s *Story) errorf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.T.Errorf(format, args...)
	}
}

// unique makes a name for the ledger: the name, or name#2, name#3, ... when it was used before.
func (s *Story) unique(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uses[name]++
	if n := s.uses[name]; n > 1 {
		return fmt.Sprintf("%s#%d", name, n)
	}
	return name
}

// Eventually waits for a condition.
func (s *Story) Eventually(condition func() bool, why func() string) {
	s.T.Helper()
	proc.Eventually(s.T, Patience, condition, why)
}

// soon is a context for one request to a node.
func soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), Patience)
}

// User is who logs in with SASL PLAIN. The zero value is nobody: ANONYMOUS.
type User struct{ Name, Password string }

// Dial connects to a node as any client does.
func Dial(n *proc.Node, container string, u User) (*goamqp.Conn, error) {
	ctx, cancel := soon()
	defer cancel()
	o := &goamqp.ConnOptions{ContainerID: container}
	if u.Name != "" {
		o.SASLType = goamqp.SASLTypePlain(u.Name, u.Password)
	}
	return goamqp.Dial(ctx, "amqp://"+n.AMQP, o)
}
