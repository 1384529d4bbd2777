package shard

// Forecast says where the publishes of a command under construction will lie, so that the command can evict what they push
// out. It is right if the command is applied to the state as it is now, with the Starts and Ends told before, and every
// publish told in its order.
type Forecast struct {
	m      *Machine
	seq    uint64
	topics map[string]*forecastTopic
	subs   map[uint64]string // the address of each that was started, "" if ended
}

type forecastTopic struct {
	head    Position
	cursors int
}

// Forecast begins a forecast.
func (m *Machine) Forecast() *Forecast {
	return &Forecast{m: m, seq: m.Last(), topics: make(map[string]*forecastTopic), subs: make(map[uint64]string)}
}

// Start and End tell the command's Starts and Ends, in this order.
func (f *Forecast) Start(sub uint64, address string) {
	if f.address(sub) != "" {
		return
	}
	f.subs[sub] = address
	f.topic(address).cursors++
}

func (f *Forecast) End(sub uint64) {
	address := f.address(sub)
	if address == "" {
		return
	}
	f.subs[sub] = ""
	f.topic(address).cursors--
}

// address is where a subscription's cursor is, "" if it has none.
func (f *Forecast) address(sub uint64) string {
	if a, ok := f.subs[sub]; ok {
		return a
	}
	f.m.mu.RLock()
	defer f.m.mu.RUnlock()
	if c := f.m.cursors[sub]; c != nil {
		return c.topic.address
	}
	return ""
}

func (f *Forecast) topic(address string) *forecastTopic {
	t := f.topics[address]
	if t == nil {
		t = &forecastTopic{head: Position{Seq: f.seq}}
		if known, ok := f.m.Topic(address); ok {
			t.head, t.cursors = known.Head, known.Cursors
		}
		f.topics[address] = t
	}
	return t
}

// Keep tells a publish that is to be kept, and returns the position at which it will lie; false if its address has no
// topic.
func (f *Forecast) Keep(address string, payload int) (Position, bool) {
	t := f.topic(address)
	if t.cursors == 0 {
		return Position{}, false
	}
	f.seq++
	t.head = Position{Seq: f.seq, Totals: t.head.Totals.Add(Size(payload))}
	return t.head, true
}

// Topic is the topic's last position with what was kept so far; false if there is no topic.
func (f *Forecast) Topic(address string) (Position, bool) {
	t := f.topic(address)
	return t.head, t.cursors > 0
}
