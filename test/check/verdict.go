package check

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Verdict is what became of the messages owed to the subscribers.
type Verdict struct {
	Sent, Accepted, Refused, Unknown int      // over all publishers
	Delivered                        int      // different messages, over all subscribers
	UnknownDelivered                 int      // of unknown outcome, and there
	Repeated                         int      // delivered again, and saying so
	Told                             int      // messages in gaps told
	ToldAtMost                       int      // messages told as having passed by, at most
	Missing                          int      // accepted and not delivered, in gaps told or not
	PassedBy                         int      // of these, those that may have passed by a subscription at a node that was cut off
	Faults                           []string // what breaks a promise, a line each
}

// OK tells whether no promise was broken.
func (v *Verdict) OK() bool { return len(v.Faults) == 0 }

func (v *Verdict) String() string {
	s := fmt.Sprintf("sent %d, accepted %d, refused %d, unknown %d (delivered %d); delivered %d, repeated %d, told lost %d, passed by %d (told %d)",
		v.Sent, v.Accepted, v.Refused, v.Unknown, v.UnknownDelivered, v.Delivered, v.Repeated, v.Told, v.PassedBy, v.ToldAtMost)
	const most = 20
	for i, f := range v.Faults {
		if i == most {
			return s + fmt.Sprintf("\n  and %d more faults", len(v.Faults)-most)
		}
		s += "\n  " + f
	}
	return s
}

func (v *Verdict) fault(format string, args ...any) {
	v.Faults = append(v.Faults, fmt.Sprintf(format, args...))
}

// Verify judges all that was written down. Call it when publishers and subscribers have stopped.
func (l *Ledger) Verify() *Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := &Verdict{}
	for _, name := range sorted(l.publishers) {
		counts := l.publishers[name].Counts()
		for o, n := range counts {
			v.Sent += n
			switch o {
			case Accepted:
				v.Accepted += n
			case Refused:
				v.Refused += n
			default:
				v.Unknown += n
			}
		}
	}
	for _, name := range sorted(l.subscribers) {
		l.judge(v, l.subscribers[name])
	}
	return v
}

func sorted[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func (l *Ledger) judge(v *Verdict, s *Subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string][]bool{} // publisher -> number -> delivered
	last := map[string]int{}    // publisher -> highest number so far
	for _, d := range s.inOrder() {
		p, n := l.parse(d.ID)
		switch {
		case p == nil:
			v.fault("%s: received %q, which nobody sent", s.name, d.ID)
			continue
		case p.address != s.address:
			v.fault("%s: received %q, which was sent to %s, not to %s", s.name, d.ID, p.address, s.address)
			continue
		case p.outcome(n) == Refused:
			v.fault("%s: received %s, which was refused to its publisher", s.name, d.ID)
		}
		numbers := seen[p.name]
		if numbers == nil {
			numbers = make([]bool, p.sent())
			seen[p.name], last[p.name] = numbers, -1
		}
		if numbers[n] {
			s.judgeRepeat(v, d)
			continue
		}
		numbers[n] = true
		v.Delivered++
		if s.exact && d.Again {
			v.fault("%s: %s says that it is delivered again, and is not", s.name, d.ID)
		}
		if o := p.outcome(n); o == Unknown || o == Pending {
			v.UnknownDelivered++
		}
		if n < last[p.name] {
			v.fault("%s: %s came after %s/%d: out of order", s.name, d.ID, p.name, last[p.name])
		}
		last[p.name] = max(last[p.name], n)
	}
	for _, id := range s.afterward {
		v.fault("%s: %s was delivered again after its acceptance was told to be kept", s.name, id)
	}
	v.Told += s.told
	v.ToldAtMost += s.atMost
	l.judgeMissing(v, s, seen)
}

// inOrder is what was delivered, link after link: when one link takes over from another, who reads the first may be
// slower than who reads the second.
func (s *Subscriber) inOrder() []Delivery {
	list := slices.Clone(s.deliveries)
	slices.SortStableFunc(list, func(a, b Delivery) int { return cmp.Compare(a.Link, b.Link) })
	return list
}

func (s *Subscriber) judgeRepeat(v *Verdict, d Delivery) {
	v.Repeated++
	switch {
	case !s.mayRepeat:
		v.fault("%s: %s was delivered twice (delivery-count %d, first-acquirer %t)", s.name, d.ID, d.Count, !d.Again)
	case !d.Again && d.Count == 0:
		v.fault("%s: %s was delivered again without saying so", s.name, d.ID)
	}
}

// judgeMissing compares what is not there with the gaps told: a gap may name more (messages of unknown outcome,
// or some that were delivered as it came to be), never less.
func (l *Ledger) judgeMissing(v *Verdict, s *Subscriber, seen map[string][]bool) {
	var missing []string
	passed := 0
	for _, name := range sorted(l.publishers) {
		p := l.publishers[name]
		if p.address != s.address {
			continue
		}
		from, until := s.owed(p)
		for n := from; n < until; n++ {
			switch {
			case p.outcome(n) != Accepted || seen[name] != nil && seen[name][n]:
			case n < s.passing[name]:
				passed++
			default:
				missing = append(missing, name+"/"+strconv.Itoa(n))
			}
		}
	}
	v.Missing += len(missing) + passed
	v.PassedBy += passed
	if passed > s.atMost {
		v.fault("%s: %d messages have passed it by, and it was told of at most %d", s.name, passed, s.atMost)
	}
	if len(missing) > s.told && !s.mayMiss {
		v.fault("%s: LOST %d accepted messages (%d missing, %d told), among them %s", s.name,
			len(missing)-s.told, len(missing), s.told, strings.Join(missing[:min(5, len(missing))], ", "))
	}
}

func (l *Ledger) parse(id string) (*Publisher, int) {
	name, number, ok := strings.Cut(id, "/")
	p := l.publishers[name]
	n, err := strconv.Atoi(number)
	if !ok || p == nil || err != nil || n < 0 || n >= p.sent() {
		return nil, 0
	}
	return p, n
}

func (p *Publisher) outcome(n int) Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.outcomes[n]
}
