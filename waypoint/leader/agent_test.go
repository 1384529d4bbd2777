package leader

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// agent is the other end of a session: it says what it is told to say and remembers what it hears.
type agent struct {
	w    *world
	name string
	boot uint64
	lane uint64
	n    uint64 // the last number it has published
	s    *session

	mu       sync.Mutex
	unsent   []string // said to it, and not flushed
	heard    []string
	got      []peer.Deliver
	welcomed bool
	ended    string // why the session was reset or refused
}

func (a *agent) Node() string { return a.name }

func (a *agent) Send(m peer.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if d, ok := m.(*peer.Deliver); ok {
		copied := *d
		copied.Payload = bytes.Clone(d.Payload)
		a.got = append(a.got, copied)
	}
	if w, ok := m.(*peer.Welcome); ok {
		a.lane, a.welcomed = w.Lane, true
	}
	a.unsent = append(a.unsent, show(m))
}

func (a *agent) Flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heard = append(a.heard, a.unsent...)
	a.unsent = nil
}

func (a *agent) Refuse(leader string) { a.end("refused " + leader) }
func (a *agent) Close(reason string)  { a.end(reason) }

func (a *agent) end(reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended == "" {
		a.ended = reason
	}
}

// why waits for rest and returns why the session has ended, "" if it has not.
func (a *agent) why() string {
	a.w.settle()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ended
}

// hear waits for rest and returns what was heard since the last time, a line a message.
func (a *agent) hear() string {
	a.w.settle()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.unsent) > 0 {
		a.w.t.Errorf("never flushed: %v", a.unsent)
	}
	out := strings.Join(a.heard, "\n")
	a.heard = nil
	return out
}

// want compares what is heard with lines.
func (a *agent) want(lines ...string) {
	a.w.t.Helper()
	if got, want := a.hear(), strings.Join(lines, "\n"); got != want {
		a.w.t.Fatalf("%s heard\n\t%s\nwant\n\t%s", a.name, strings.ReplaceAll(got, "\n", "\n\t"), strings.ReplaceAll(want, "\n", "\n\t"))
	}
}

// deliveries waits for rest and returns what was delivered since the last time.
func (a *agent) deliveries() []peer.Deliver {
	a.w.settle()
	a.mu.Lock()
	defer a.mu.Unlock()
	got := a.got
	a.got, a.heard = nil, nil
	return got
}

func (a *agent) say(list ...peer.Message) {
	a.w.mu.Lock()
	server := a.w.server
	a.w.mu.Unlock()
	if server == nil || a.s == nil {
		return
	}
	server.receive(a.s, list)
	a.w.settle()
}

// agent opens a session as a router's incarnation, with the lane that it has.
func (w *world) agent(name string, boot uint64) *agent {
	w.t.Helper()
	return w.reopen(&agent{w: w, name: name, boot: boot})
}

// reopen opens a session as the same incarnation that old was.
func (w *world) reopen(old *agent) *agent {
	w.t.Helper()
	a := &agent{w: w, name: old.name, boot: old.boot, lane: old.lane, n: old.n}
	w.mu.Lock()
	server := w.server
	w.mu.Unlock()
	if server == nil {
		w.t.Fatal("nobody leads")
	}
	a.s = server.open(a, &peer.Hello{Router: a.name, Boot: a.boot, Lane: a.lane, Term: 1})
	w.settle()
	if a.welcomed {
		a.say(&peer.Window{Bytes: 1 << 40})
	}
	return a
}

// narrow opens a session that takes no deliveries yet.
func (w *world) narrow(name string) *agent {
	a := &agent{w: w, name: name, boot: 1}
	a.s = w.server.open(a, &peer.Hello{Router: name, Boot: 1})
	w.settle()
	return a
}

// lost breaks the session.
func (a *agent) lost() {
	a.w.mu.Lock()
	server := a.w.server
	a.w.mu.Unlock()
	if server != nil {
		server.close(a.s, nil)
	}
	a.w.settle()
}

// publish sends bodies, numbered on.
func (a *agent) publish(address string, bodies ...string) {
	p := &peer.Publish{}
	for _, b := range bodies {
		a.n++
		p.Items = append(p.Items, peer.PublishItem{N: a.n, Address: address, Payload: []byte(b)})
	}
	a.say(p)
}

// publishN sends n bodies of that size, each beginning with its number.
func (a *agent) publishN(address string, n, size int) {
	var bodies []string
	for i := range n {
		b := fmt.Sprintf("%d.", a.n+uint64(i)+1)
		bodies = append(bodies, b+strings.Repeat("x", max(0, size-len(b))))
	}
	a.publish(address, bodies...)
}

func (a *agent) attach(sub, gen, credit uint64, held ...peer.Held) {
	a.say(&peer.Attach{Sub: sub, Gen: gen, Credit: credit, Held: held})
}

// outcome tells the same outcome of several deliveries.
func (a *agent) outcome(sub, gen uint64, state peer.OutcomeState, flags uint8, list ...peer.Deliver) {
	o := &peer.Outcome{Sub: sub, Gen: gen}
	for _, d := range list {
		item := peer.OutcomeItem{Seq: d.Seq, Count: d.Count, State: state, Flags: flags}
		if d.Gap != nil {
			item.GapVersion = d.Gap.Version
		}
		o.Items = append(o.Items, item)
	}
	a.say(o)
}

func (a *agent) accept(sub, gen uint64, list ...peer.Deliver) {
	a.outcome(sub, gen, peer.Accepted, 0, list...)
}

func showPressure(p peer.Pressure) string {
	if p == (peer.Pressure{}) {
		return ""
	}
	return fmt.Sprintf(" pressure %s(%s, %d ms)", p.Level, p.Reason, p.RetryAfterMS)
}

// show writes a message as a line.
func show(m peer.Message) string {
	switch m := m.(type) {
	case *peer.Welcome:
		s := fmt.Sprintf("welcome lane %d last %d", m.Lane, m.Last)
		for _, f := range m.Refused {
			s += fmt.Sprintf(" refused %d(%s)", f.N, f.Refusal.Reason)
		}
		return s + showPressure(m.Pressure)
	case *peer.Answers:
		s := fmt.Sprintf("answers through %d", m.Through)
		for _, e := range m.Except {
			if e.NoView() {
				s += fmt.Sprintf(" no-view %d", e.N)
				continue
			}
			s += fmt.Sprintf(" refused %d(%s", e.N, e.Refusal.Reason)
			if e.Refusal.Subscription != "" {
				s += fmt.Sprintf(" %s %d/%d", e.Refusal.Subscription, e.Refusal.Used, e.Refusal.Limit)
			}
			s += ")"
		}
		return s
	case *peer.Topics:
		s := "topics"
		for _, f := range m.Refusing {
			s += fmt.Sprintf(" refusing %s(%s %d/%d)", f.Address, f.Refusal.Subscription, f.Refusal.Used, f.Refusal.Limit)
		}
		for _, address := range m.Cleared {
			s += " cleared " + address
		}
		return s + showPressure(m.Pressure)
	case *peer.Attached:
		return fmt.Sprintf("attached %d.%d backlog %d", m.Sub, m.Gen, m.State.Messages)
	case *peer.State:
		return fmt.Sprintf("state %d.%d backlog %d gap %d", m.Sub, m.Gen, m.State.Messages, m.State.GapMessages)
	case *peer.Deliver:
		s := fmt.Sprintf("deliver %d.%d #%d %s", m.Sub, m.Gen, m.Seq, m.Payload)
		if m.Count > 0 {
			s += fmt.Sprintf(" count %d", m.Count)
		}
		if m.Redelivered {
			s += " again"
		}
		if m.Gap != nil {
			s += fmt.Sprintf(" gap %d", m.Gap.Messages)
			for _, c := range m.Gap.Causes {
				s += fmt.Sprintf(" %s:%d", c.Cause, c.Messages)
			}
		}
		return s
	case *peer.Committed:
		s := fmt.Sprintf("committed %d.%d", m.Sub, m.Gen)
		for _, x := range m.Items {
			s += fmt.Sprintf(" %d", x.Seq)
		}
		return s
	case *peer.Drained:
		return fmt.Sprintf("drained %d.%d limit %d", m.Sub, m.Gen, m.Limit)
	case *peer.Left:
		return fmt.Sprintf("left %d.%d", m.Sub, m.Gen)
	case *peer.Ended:
		return fmt.Sprintf("ended %d.%d %s", m.Sub, m.Gen, m.Condition)
	case *peer.Forgotten:
		return "forgotten"
	}
	return fmt.Sprintf("%s %+v", m.Kind(), m)
}
