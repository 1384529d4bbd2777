package proc

import (
	"os"
	"testing"
	"time"
)

// Shared is a cluster that the tests of a package use one after the other. Each test finds all nodes running, all
// connections whole and everybody ready; what earlier tests published and subscribed may still be there, so
// addresses and names should be a test's own.
type Shared struct {
	Options Options

	life    *life
	cluster *Cluster
}

// life is the testing.TB of what outlives a test: it fails the test that runs now, and cleans up in End.
type life struct {
	testing.TB // the test that runs now
	dir        string
	cleanups   []func()
}

func (l *life) Cleanup(f func()) { l.cleanups = append(l.cleanups, f) }
func (l *life) TempDir() string  { return l.dir }

// For gives the cluster to a test, for as long as that runs. The first call starts it.
func (s *Shared) For(t testing.TB) *Cluster {
	t.Helper()
	if s.cluster == nil {
		s.start(t)
	} else {
		complain := t.Errorf
		if s.life.Failed() {
			complain = t.Logf // it has been said once
		}
		s.life.TB = t
		if err := s.mend(); err != nil {
			complain("what the test before this one left can't be mended, so a new cluster is started: %v", err)
			s.start(t)
		}
	}
	logs := map[*Node]int{}
	for _, n := range s.cluster.Nodes {
		logs[n] = len(n.Log())
	}
	t.Cleanup(func() {
		for _, n := range s.cluster.Nodes {
			if ended, err := n.endedByItself(); ended {
				t.Errorf("node %s has ended by itself: %v", n.Name, err)
			}
		}
		if t.Failed() {
			for _, n := range s.cluster.Nodes {
				t.Logf("node %s's log of this test ends:\n%s", n.Name, tail(n.Log()[logs[n]:], 60))
			}
		}
	})
	return s.cluster
}

func (s *Shared) start(t testing.TB) {
	t.Helper()
	s.End() // of a start that failed
	dir, err := os.MkdirTemp("", "posthouse-test-")
	if err != nil {
		t.Fatal(err)
	}
	s.life = &life{TB: t, dir: dir}
	s.life.Cleanup(func() { os.RemoveAll(dir) })
	options := s.Options
	options.NoWait = true // a cluster that does not get ready is to be ended all the same
	s.cluster = Start(s.life, options)
	s.cluster.quiet = true
	s.cluster.WaitReady(90 * time.Second)
}

// mend undoes what a test may have left broken, as far as nodes that start again do.
func (s *Shared) mend() error {
	for i := range s.cluster.Nodes {
		s.cluster.Rejoin(i)
	}
	for _, n := range s.cluster.Nodes {
		if n.Running() {
			n.Continue()
		} else {
			n.Kill() // forget that it ended
			n.Restart()
		}
	}
	return s.cluster.waitReady(90 * time.Second)
}

// End stops the cluster and gives the turn to others. A package that has a Shared calls it from TestMain.
func (s *Shared) End() {
	if s.life == nil {
		return
	}
	for i := len(s.life.cleanups) - 1; i >= 0; i-- {
		s.life.cleanups[i]()
	}
	s.life, s.cluster = nil, nil
}
