package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// pendingCall waits for the response of a node.
type pendingCall struct {
	node   string
	answer chan *response // capacity 1
}

// Handle sets the handler of requests to a group's leader on this node; nil takes it away. Without one requests are answered NotLeader.
func (h *Hub) Handle(group uint32, handler Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if handler == nil {
		delete(h.handlers, group)
		return
	}
	h.handlers[group] = handler
}

// Call asks one node once. It blocks until the answer or the end of ctx. An error other than *Error and *NotLeaderError leaves open whether the
// request had an effect.
func (h *Hub) Call(ctx context.Context, node string, group uint32, op string, body []byte) ([]byte, error) {
	id, p := newID(), &pendingCall{node: node, answer: make(chan *response, 1)}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, ErrClosed
	}
	h.calls[id] = p
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.calls, id)
		h.mu.Unlock()
	}()
	if !h.net.Send(node, callBody(group, id, &request{Op: op, Body: body})) {
		return nil, ErrNoPath
	}
	select {
	case r := <-p.answer:
		return r.result()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-h.done:
		return nil, ErrClosed
	}
}

// CallLeader asks the leader of a group, wherever it is, again and again until it answers with success or a *Error, or ctx ends. So a request must be idempotent.
func (h *Hub) CallLeader(ctx context.Context, group uint32, op string, body []byte) ([]byte, error) {
	var hint string
	last := ErrNoLeader
	for fails := 0; ; fails++ {
		node, ok := hint, hint != ""
		if hint = ""; !ok {
			node, ok = h.Resolve(group)
		}
		if ok {
			answer, err := h.try(ctx, node, group, op, body)
			var refused *Error
			var notLeader *NotLeaderError
			switch {
			case err == nil, errors.As(err, &refused), errors.Is(err, ErrClosed):
				return answer, err
			case errors.As(err, &notLeader):
				hint = notLeader.Leader
			}
			last = err
		}
		if err := h.pause(ctx, fails, group, node); err != nil {
			if errors.Is(err, ErrClosed) {
				return nil, err
			}
			return nil, fmt.Errorf("%s: %w: %w", Address(group), err, last)
		}
	}
}

// try asks one node, until it answers, TryFor is over, or the network knows another leader.
func (h *Hub) try(ctx context.Context, node string, group uint32, op string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, h.cfg.TryFor, errNoAnswer)
	defer cancel()
	before, _ := h.Resolve(group)
	watch, moved := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			change := h.changes()
			if now, ok := h.Resolve(group); ok && now != node && now != before {
				moved(ErrMoved)
				return
			}
			select {
			case <-change:
			case <-watch.Done():
				return
			}
		}
	})
	answer, err := h.Call(watch, node, group, op, body)
	if cause := context.Cause(watch); err != nil && cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	moved(nil)
	wg.Wait()
	return answer, err
}

var errNoAnswer = errors.New("no answer in time")

// pause waits before the next attempt: for the back-off's time, or until the network has changed.
func (h *Hub) pause(ctx context.Context, fails int, group uint32, asked string) error {
	change := h.changes()
	if node, ok := h.Resolve(group); ok && node != asked && fails < 3 {
		return ctx.Err()
	}
	timer := time.NewTimer(h.backoff(fails + 1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-change:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-h.done:
		return ErrClosed
	}
}

// changes is closed at the next change of the network.
func (h *Hub) changes() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

func (h *Hub) receiveCall(from string, hd header, m Message) {
	switch m := m.(type) {
	case *request:
		h.mu.Lock()
		handler := h.handlers[hd.group]
		h.mu.Unlock()
		var once sync.Once
		reply := func(body []byte, err error) {
			once.Do(func() { h.net.Send(from, callBody(hd.group, hd.session, newResponse(body, err))) })
		}
		if handler == nil {
			reply(nil, &NotLeaderError{})
			return
		}
		handler(from, m.Op, m.Body, reply)
	case *response:
		h.mu.Lock()
		p := h.calls[hd.session]
		delete(h.calls, hd.session)
		h.mu.Unlock()
		if p != nil && p.node == from {
			p.answer <- m
		}
	}
}

func callBody(group uint32, id uint64, m Message) []byte {
	b := appendHeader(make([]byte, 0, minBody), header{dir: call, group: group, session: id})
	return appendMessage(b, m)
}

func newResponse(body []byte, err error) *response {
	var refused *Error
	var notLeader *NotLeaderError
	switch {
	case err == nil && len(body) > MaxBody-minBody:
		return &response{Code: codeUnavailable, Body: []byte("the answer is too large")}
	case err == nil:
		return &response{Code: codeOK, Body: body}
	case errors.As(err, &refused):
		if b, err := json.Marshal(refused); err == nil {
			return &response{Code: codeRefused, Body: b}
		}
	case errors.As(err, &notLeader):
		return &response{Code: codeNotLeader, Body: []byte(notLeader.Leader)}
	}
	return &response{Code: codeUnavailable, Body: []byte(err.Error())}
}

func (m *response) result() ([]byte, error) {
	switch m.Code {
	case codeOK:
		return m.Body, nil
	case codeNotLeader:
		return nil, &NotLeaderError{Leader: string(m.Body)}
	case codeRefused:
		e := new(Error)
		if err := json.Unmarshal(m.Body, e); err != nil {
			return nil, &UnavailableError{Text: "unreadable refusal: " + err.Error()}
		}
		return nil, e
	}
	return nil, &UnavailableError{Text: string(m.Body)}
}
