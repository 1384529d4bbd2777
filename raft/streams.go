package raft

import (
	"errors"
	"net"
	"sync"
)

// streams are all connections of one group, both ways, so that they can be cut together: a leader whose disk hangs
// keeps its leadership for as long as its heartbeats go out (hashicorp/raft#503).
type streams struct {
	mu      sync.Mutex
	open    map[*stream]struct{}
	shut    error // why no stream is taken; nil: they are
	served  int   // accepted ones that somebody still serves
	changed *sync.Cond
}

// stream is one connection of a group. Its user closes it; a cut closes only what is beneath.
type stream struct {
	net.Conn
	in     *streams
	served bool
	once   sync.Once
}

var errCut = errors.New("the group's streams are cut")

func newStreams() *streams {
	s := &streams{open: map[*stream]struct{}{}}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// add takes a connection in; served says that a goroutine will serve it and close it at its end.
func (s *streams) add(c net.Conn, served bool) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut != nil {
		_ = c.Close()
		return nil, s.shut
	}
	st := &stream{Conn: c, in: s, served: served}
	s.open[st] = struct{}{}
	if served {
		s.served++
	}
	return st, nil
}

// err says why streams are not taken at present.
func (s *streams) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shut
}

// cut breaks all streams and takes no new ones until resume.
func (s *streams) cut(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = why
	for st := range s.open {
		_ = st.Conn.Close()
		if !st.served {
			delete(s.open, st) // pooled by the transport, which may never touch it again
		}
	}
}

func (s *streams) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = nil
}

// resumeFrom resumes if the last cut was for this reason.
func (s *streams) resumeFrom(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.shut, why) {
		s.shut = nil
	}
}

// wait returns when nobody serves a stream any more; cut them before.
func (s *streams) wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.served > 0 {
		s.changed.Wait()
	}
}

func (st *stream) Close() error {
	err := st.Conn.Close()
	st.once.Do(func() {
		st.in.mu.Lock()
		defer st.in.mu.Unlock()
		delete(st.in.open, st)
		if st.served {
			st.in.served--
			st.in.changed.Broadcast()
		}
	})
	return err
}
