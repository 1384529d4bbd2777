package interop

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posthouse/posthouse/test/proc"
)

// event is one thing that a peer tells.
type event struct {
	Event string

	// of a connection or link
	Conn, Link      string
	Container       string // of the other side
	Terminus        *terminus
	Properties      map[string]any
	Condition, Text string
	What            string
	Credit          int

	// of a message
	ID, Kind, State, Hex string
	Size                 int
	Count                uint32 // delivery-count
	First                bool   // first-acquirer
	Settled, Intact      bool
	Gap                  *gap

	Kinds []string // what kinds of messages the peer can send
}

// terminus is what the node says that it has: a source for a receiver, a target for a sender.
type terminus struct {
	Address string
	Durable int
	Expiry  string
	Timeout int
}

type gap struct {
	Messages uint64
	Causes   map[string]uint64
}

func (e event) String() string {
	s := e.Event
	for _, f := range []struct{ name, value string }{{"conn", e.Conn}, {"link", e.Link}, {"id", e.ID}, {"state", e.State}, {"what", e.What}, {"condition", e.Condition}, {"text", e.Text}} {
		if f.value != "" {
			s += fmt.Sprintf(" %s=%q", f.name, f.value)
		}
	}
	return s
}

// ending tells whether the event ends something, which is a fault unless somebody waits for it.
func (e event) ending() bool {
	switch e.Event {
	case "error", "closed", "detached", "disconnected":
		return true
	}
	return false
}

// library is a client library to be tried.
type library struct {
	name    string
	missing func() error
	start   func(t *testing.T, container string) *peer // skips the test when it is missing
}

var libraries = []library{{"python", pythonIsThere, startPython}, {"cpp", cppIsThere, startCPP}, {"go-amqp", func() error { return nil }, startGo}}

// each plays a test with each library, but for those that can't do what it is about.
func each(t *testing.T, play func(t *testing.T, l library), cannot ...string) {
	for _, l := range libraries {
		if !slices.Contains(cannot, l.name) {
			t.Run(l.name, func(t *testing.T) { play(t, l) })
		}
	}
}

// present are the libraries that are there; of the others it says, by a skipped test, that they are not.
func present(t *testing.T) []library {
	var there []library
	for _, l := range libraries {
		if err := l.missing(); err != nil {
			t.Run(l.name, func(t *testing.T) { t.Skip(err) })
			continue
		}
		there = append(there, l)
	}
	return there
}

var uses atomic.Int64

// unique makes a name that no other test, and no other run of this one, uses on the shared cluster.
func unique(name string) string { return fmt.Sprintf("%s-%d", name, uses.Add(1)) }

// peer is a client container in the hands of a test.
type peer struct {
	t       *testing.T
	name    string
	command func(line string) error
	heard   chan event    // closed when the peer has ended
	end     func() string // after heard is closed: what was wrong with its end
	kept    []event       // heard while something else was awaited
}

// do gives a command: an operation and key=value pairs.
func (p *peer) do(operation string, args ...string) {
	p.t.Helper()
	if err := p.command(strings.Join(append([]string{operation}, args...), "\t")); err != nil {
		p.t.Fatalf("%s: %s: %v", p.name, operation, err)
	}
}

// await waits for an event and takes it, whatever else came before it; but an ending that comes meanwhile is a fault.
func (p *peer) await(what string, match func(event) bool) event {
	p.t.Helper()
	for i, e := range p.kept {
		if match(e) {
			p.kept = slices.Delete(p.kept, i, i+1)
			return e
		}
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case e, ok := <-p.heard:
			switch {
			case !ok:
				p.t.Fatalf("%s ended while %s was awaited: %s", p.name, what, p.end())
			case match(e):
				return e
			case e.ending():
				p.t.Fatalf("%s: while %s was awaited: %s", p.name, what, e)
			}
			p.kept = append(p.kept, e)
		case <-deadline.C:
			p.t.Fatalf("%s: %s did not come; what came: %v", p.name, what, p.kept)
		}
	}
}

func (p *peer) awaitLink(kind, link string) event {
	p.t.Helper()
	return p.await(kind+" of "+link, func(e event) bool { return e.Event == kind && e.Link == link })
}

// connect opens a connection.
func (p *peer) connect(conn string, n *proc.Node, args ...string) {
	p.t.Helper()
	p.do("connect", append([]string{"conn=" + conn, "url=amqp://" + n.AMQP}, args...)...)
	p.connected(conn)
}

func (p *peer) connected(conn string) {
	p.t.Helper()
	p.await("connection "+conn, func(e event) bool { return e.Event == "connected" && e.Conn == conn })
}

// receiver attaches a receiving link. Without arguments all is the library's default: its credit, and that a message
// is accepted when the application has seen it.
func (p *peer) receiver(conn, link, address string, args ...string) event {
	p.t.Helper()
	p.do("receiver", append([]string{"conn=" + conn, "link=" + link, "address=" + address}, args...)...)
	return p.attached(link)
}

// sender attaches a sending link.
func (p *peer) sender(conn, link, address string, args ...string) event {
	p.t.Helper()
	p.do("sender", append([]string{"conn=" + conn, "link=" + link, "address=" + address}, args...)...)
	return p.attached(link)
}

func (p *peer) attached(link string) event {
	p.t.Helper()
	e := p.awaitLink("attached", link)
	if e.Terminus == nil {
		p.t.Fatalf("%s: link %s was refused: %s", p.name, link, p.awaitLink("error", link))
	}
	return e
}

// send sends one message.
func (p *peer) send(link, id string, args ...string) event {
	p.t.Helper()
	p.do("send", append([]string{"link=" + link, "id=" + id}, args...)...)
	return p.await("the sending of "+id, func(e event) bool { return e.Event == "sent" && e.Link == link && e.ID == id })
}

// outcome waits for the outcome of a message that was sent.
func (p *peer) outcome(link, id string) event {
	p.t.Helper()
	return p.await("the outcome of "+id, func(e event) bool { return e.Event == "outcome" && e.Link == link && e.ID == id })
}

// publish sends messages m<from> to m<through> and waits until all are accepted.
func (p *peer) publish(link string, from, through int) {
	p.t.Helper()
	for i := from; i <= through; i++ {
		p.send(link, id(i), "size="+itoa(i))
	}
	for i := from; i <= through; i++ {
		if o := p.outcome(link, id(i)); o.State != "accepted" {
			p.t.Fatalf("%s: %s", p.name, o)
		}
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

// text is a property's value, whatever its type.
func text(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

func id(i int) string { return "m" + itoa(i) }

// messages waits for so many messages on a link, in the order in which they come, whole.
func (p *peer) messages(link string, n int) []event {
	p.t.Helper()
	var got []event
	for range n {
		m := p.await(fmt.Sprintf("message %d of %d on %s", len(got)+1, n, link), func(e event) bool {
			return e.Event == "message" && e.Link == link && !strings.HasPrefix(e.ID, probeID)
		})
		if !m.Intact {
			p.t.Errorf("%s: message %s is not what was sent: %+v", p.name, m.ID, m)
		}
		got = append(got, m)
	}
	return got
}

// new waits for messages m<from> to m<through> in order, none of them seen before, none of them lost.
func (p *peer) new(link string, from, through int) {
	p.t.Helper()
	for i, m := range p.messages(link, through-from+1) {
		if m.ID != id(from+i) || m.Count != 0 || !m.First || m.Gap != nil {
			p.t.Errorf("%s: got %s (delivery-count %d, first-acquirer %v, gap %v), want %s, new", p.name, m.ID, m.Count, m.First, m.Gap, id(from+i))
		}
	}
}

// direct waits for messages m<from> to m<through> in order on an ordinary link: nothing is said of who had them before.
func (p *peer) direct(link string, from, through int) {
	p.t.Helper()
	for i, m := range p.messages(link, through-from+1) {
		if m.ID != id(from+i) || m.Count != 0 || m.Gap != nil {
			p.t.Errorf("%s: got %s (delivery-count %d, gap %v), want %s", p.name, m.ID, m.Count, m.Gap, id(from+i))
		}
	}
}

// settle gives a message an outcome: accepted, rejected, released, modified (delivery-failed) or undeliverable
// (modified, delivery-failed and undeliverable-here). The receiver is "manual".
func (p *peer) settle(link, id, outcome string) {
	p.t.Helper()
	p.do("settle", "link="+link, "id="+id, "outcome="+outcome)
}

// credit allows n more messages. The receiver has "credit=0".
func (p *peer) credit(link string, n int) {
	p.t.Helper()
	p.do("credit", "link="+link, "credit="+itoa(n))
}

// detach leaves a subscription as the library has it, so that it stays.
func (p *peer) detach(link string) {
	p.t.Helper()
	p.do("detach", "link="+link)
	p.awaitLink("detached", link)
}

// close closes a link: that ends a subscription.
func (p *peer) close(link string) {
	p.t.Helper()
	p.do("close", "link="+link)
	p.awaitLink("closed", link)
}

// disconnect closes a connection with all its links.
func (p *peer) disconnect(conn string) {
	p.t.Helper()
	p.do("disconnect", "conn="+conn)
	p.await("the end of "+conn, func(e event) bool { return e.Event == "disconnected" && e.Conn == conn })
}

// finish ends the peer. What it told and nobody asked for is a fault: endings, messages, outcomes, and what its library
// has written to stderr. The messages of probe don't count.
func (p *peer) finish() {
	p.t.Helper()
	p.do("quit")
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for open := true; open; {
		select {
		case e, ok := <-p.heard:
			if open = ok; ok {
				p.kept = append(p.kept, e)
			}
		case <-deadline.C:
			p.t.Fatalf("%s does not end", p.name)
		}
	}
	for _, e := range p.kept {
		if e.Event != "state" && !strings.HasPrefix(e.ID, probeID) {
			p.t.Errorf("%s: not asked for: %s", p.name, e)
		}
	}
	if wrong := p.end(); wrong != "" {
		p.t.Errorf("%s: %s", p.name, wrong)
	}
}

const probeID = "probe"

// probe sends until a direct receiver at another node gets it: that a client receives there is news, which takes a
// moment to come round, and until then nobody is there.
func (p *peer) probe(link string, receiver *peer, at string) {
	p.t.Helper()
	arrived := func(e event) bool { return e.Event == "message" && e.Link == at }
	for began, i := time.Now(), 0; !slices.ContainsFunc(receiver.kept, arrived); i++ {
		probe := fmt.Sprint(probeID, i)
		p.send(link, probe, "size=0")
		p.outcome(link, probe)
		select {
		case e := <-receiver.heard:
			if e.ending() {
				p.t.Fatalf("%s: %s", receiver.name, e)
			}
			receiver.kept = append(receiver.kept, e)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Since(began) > patience {
			p.t.Fatalf("%s gets nothing", receiver.name)
		}
	}
}
