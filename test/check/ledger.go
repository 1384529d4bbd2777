package check

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
)

// Outcome is what a publisher learned of one message.
type Outcome uint8

const (
	Pending  Outcome = iota // sent, not answered: counts as Unknown
	Accepted                // promised: must be there
	Refused                 // rejected or released: must not be there
	Unknown                 // may be there
)

func (o Outcome) String() string {
	return [...]string{"pending", "accepted", "refused", "unknown"}[o]
}

// Ledger is what was sent and what was received in one test. It is safe for concurrent use.
type Ledger struct {
	mu          sync.Mutex
	publishers  map[string]*Publisher
	subscribers map[string]*Subscriber
}

// New returns an empty ledger.
func New() *Ledger {
	return &Ledger{publishers: map[string]*Publisher{}, subscribers: map[string]*Subscriber{}}
}

// Publisher is one publisher link: its messages are numbered from 0 in the order in which they were sent.
type Publisher struct {
	mu       sync.Mutex
	name     string
	address  string
	outcomes []Outcome
}

// Publisher opens the page of a publisher that sends to address. The name must be new and must hold no slash.
func (l *Ledger) Publisher(name, address string) *Publisher {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.publishers[name] != nil || strings.Contains(name, "/") {
		panic("publisher " + name + " is taken or no name")
	}
	p := &Publisher{name: name, address: address}
	l.publishers[name] = p
	return p
}

// Send writes down that the next message goes out now and returns its number and its id, which the message must carry.
func (p *Publisher) Send() (n int, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = len(p.outcomes)
	p.outcomes = append(p.outcomes, Pending)
	return n, p.name + "/" + strconv.Itoa(n)
}

// Answered writes down what the publisher learned of message n. The first answer stands; another one is a fault.
func (p *Publisher) Answered(n int, o Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.outcomes[n] != Pending {
		panic(fmt.Sprintf("%s/%d answered twice: %s, then %s", p.name, n, p.outcomes[n], o))
	}
	p.outcomes[n] = o
}

// Counts returns how many messages have each outcome.
func (p *Publisher) Counts() map[Outcome]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := map[Outcome]int{}
	for _, o := range p.outcomes {
		counts[o]++
	}
	return counts
}

// Delivery is what a subscriber was given.
type Delivery struct {
	ID        string
	Count     uint32 // header.delivery-count
	Again     bool   // first-acquirer=false
	Confirmed bool   // the subscriber's accepted was settled by the other side, or sent on a link that lived on
	Link      int    // which of the subscription's links it came on: what an earlier link got counts as got before
}

// Subscriber is one durable subscription (or one direct receiver), whatever links it used.
type Subscriber struct {
	mu         sync.Mutex
	name       string
	address    string
	from       map[string]int // publisher -> first number that the subscription must have
	until      map[string]int // publisher -> number from which on it need not have any, if it has ended
	ended      bool
	deliveries []Delivery
	seen       map[string][]bool // publisher -> number -> delivered
	confirmed  map[string]bool   // ids whose acceptance was told to be kept
	afterward  []string          // ids delivered in spite of that
	told       int               // messages in gaps that it was told of
	atMost     int               // messages that it was told may have passed it by
	passing    map[string]int    // publisher -> number up to which its messages may have passed it by
	mayRepeat  bool
	mayMiss    bool
	exact      bool
}

// Subscriber opens the page of a subscription on address that exists from now on: what publishers have already sent
// is not owed to it.
func (l *Ledger) Subscriber(name, address string) *Subscriber {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.subscribers[name] != nil {
		panic("subscriber " + name + " is taken")
	}
	s := &Subscriber{name: name, address: address, from: map[string]int{}, until: map[string]int{}, seen: map[string][]bool{}, confirmed: map[string]bool{}}
	for _, p := range l.publishers {
		s.from[p.name] = p.sent()
	}
	l.subscribers[name] = s
	return s
}

// End writes down that the subscription is being removed: what is sent from now on is not owed to it.
func (l *Ledger) End(s *Subscriber) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, p := range l.publishers {
		s.until[p.name] = p.sent()
	}
}

// owed is the range of a publisher's messages that the subscription must have.
func (s *Subscriber) owed(p *Publisher) (from, until int) {
	if s.ended {
		return s.from[p.name], s.until[p.name]
	}
	return s.from[p.name], p.sent()
}

func (p *Publisher) sent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.outcomes)
}

// Received writes down a delivery, in the order in which they came.
func (s *Subscriber) Received(d Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.confirmed[d.ID] {
		s.afterward = append(s.afterward, d.ID)
	}
	s.deliveries = append(s.deliveries, d)
	name, number, _ := strings.Cut(d.ID, "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 {
		return // Verify says what is wrong with it
	}
	if seen := s.seen[name]; n >= len(seen) {
		s.seen[name] = append(seen, make([]bool, n+1-len(seen))...)
	}
	s.seen[name][n] = true
}

// Got counts the different messages of a publisher that a subscriber has got.
func (l *Ledger) Got(s *Subscriber, publisher string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, seen := range s.seen[publisher] {
		if seen {
			n++
		}
	}
	return n
}

// Confirmed writes down that the other side has told that it keeps the acceptance of a message (it has settled it, in
// receiver settle mode second): from now on any delivery of it is a fault, MayRepeat or not.
func (s *Subscriber) Confirmed(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmed[id] = true
}

// Owed counts what is still to come: messages that were accepted and are not delivered, told as lost or not, and
// messages whose publisher waits for an answer.
func (l *Ledger) Owed(s *Subscriber) (missing, unanswered int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range l.publishers {
		if p.address != s.address {
			continue
		}
		from, until := s.owed(p)
		seen := s.seen[name]
		p.mu.Lock()
		for n := from; n < until; n++ {
			switch {
			case p.outcomes[n] == Pending:
				unanswered++
			case p.outcomes[n] == Accepted && (n >= len(seen) || !seen[n]):
				missing++
			}
		}
		p.mu.Unlock()
	}
	return missing, unanswered
}

// Told writes down that the subscriber was told of a gap of that many messages.
func (s *Subscriber) Told(messages int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told += messages
}

// ToldInAll writes down that the subscriber was told how many messages it has lost in all, since it exists.
func (s *Subscriber) ToldInAll(messages int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = max(s.told, messages)
}

// ToldAtMost writes down that the subscriber was told how many messages at most have passed it by at nodes that were cut off.
func (s *Subscriber) ToldAtMost(messages int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.atMost = max(s.atMost, messages)
}

// MayPassBy says that a publisher's node was cut off when the subscription was made: its messages may pass it by, as many as the
// subscriber is told (ToldAtMost), until Whole. Nobody else's may.
func (s *Subscriber) MayPassBy(publisher string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passing == nil {
		s.passing = map[string]int{}
	}
	s.passing[publisher] = math.MaxInt
}

// Whole says that no node is cut off any more: what is sent from now on passes the subscription by no longer.
func (l *Ledger) Whole(s *Subscriber) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.passing {
		s.passing[name] = l.publishers[name].sent()
	}
}

// MayRepeat allows this subscriber deliveries that say that they are repeated (because the test lost its router and
// its leader, cut its link, or released messages). Without it any second delivery is a fault.
func (s *Subscriber) MayRepeat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mayRepeat = true
}

// MayMiss says that nothing is owed to this one (a direct receiver): what is missing is counted and no fault.
func (s *Subscriber) MayMiss() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mayMiss = true
}

// Exact says that nothing happens that could leave the other side in doubt what was delivered: a message that says
// that it is delivered again, and is not, is a fault.
func (s *Subscriber) Exact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exact = true
}

// ToldOf returns how many messages the subscriber was told of as lost or passed by.
func (s *Subscriber) ToldOf() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told + s.atMost
}

// Len returns the number of deliveries so far.
func (s *Subscriber) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.deliveries)
}
