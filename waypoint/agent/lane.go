package agent

import (
	"fmt"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// lane is the ordered, numbered stream of captured publishes from this router to one shard. It is state only: its shard
// locks it, sends what it says, and calls receipts.
//
// The queue is, from the front: void entries, other numbered ones (which are resent to each new leader), entries
// without a number. So numbers are given in the order of the queue and entry i of it has number first()+i.
type lane struct {
	shard uint32
	id    uint64 // 0: none yet
	last  uint64 // the number given last

	queue    []entry
	head     int // queue[:head] is over
	numbered int
	void     int
	sent     int // of the numbered ones, how many were sent to the present leader
	bytes    int64

	ack uint64 // refusals up to here are known and not acknowledged; 0: nothing owed

	out []answered // receipts to be called
}

// entry is a publish that waits for its answer.
type entry struct {
	address string
	payload []byte
	receipt Receipt   // nil when it has been told that the outcome is unknown
	since   time.Time // when it was sent first, or, without a number, put in
}

// entryOverhead is what an entry counts beside its strings.
const entryOverhead = 64

func (e *entry) bytes() int64 { return int64(len(e.payload)+len(e.address)) + entryOverhead }

// answered is a receipt with its answer.
type answered struct {
	receipt Receipt
	answer  Answer
	reason  peer.Reason // of a refusal
}

func (l *lane) len() int { return len(l.queue) - l.head }

func (l *lane) at(i int) *entry { return &l.queue[l.head+i] }

// first is the number of the entry at the front, if that has one.
func (l *lane) first() uint64 { return l.last - uint64(l.numbered) + 1 }

func (l *lane) put(e entry) {
	if l.head > 64 && l.head > len(l.queue)/2 {
		n := copy(l.queue, l.queue[l.head:])
		clear(l.queue[n:])
		l.queue, l.head = l.queue[:n], 0
	}
	l.queue = append(l.queue, e)
	l.bytes += e.bytes()
}

// pop takes the front entry away and answers it, unless it is void.
func (l *lane) pop(a Answer, reason peer.Reason) {
	e := l.at(0)
	l.bytes -= e.bytes()
	if e.receipt != nil {
		l.out = append(l.out, answered{e.receipt, a, reason})
	}
	*e = entry{}
	l.head++
	l.numbered--
	l.void = max(l.void-1, 0)
	l.sent = max(l.sent-1, 0)
	if l.head == len(l.queue) {
		l.queue, l.head = l.queue[:0], 0
	}
}

// welcome takes what a new leader knows of the lane: what is at or below Last is answered, the rest is to be sent again. One that no subscription
// wanted, and whose answer was lost, counts as kept: the state does not keep which these were. An error means that the session must
// be given up; the next one asks for a new lane.
func (l *lane) welcome(w *peer.Welcome) error {
	l.sent = 0
	if w.Lane != l.id {
		l.forget()
		l.id, l.last = w.Lane, w.Last
		if w.Last > 0 && len(w.Refused) > 0 {
			l.ack = w.Last
		}
		return nil
	}
	if w.Last > l.last || w.Last+1 < l.first() {
		err := fmt.Errorf("shard %d knows %d publishes of lane %d, of which %d to %d are unanswered", l.shard, w.Last, l.id, l.first(), l.last)
		l.forget()
		return err
	}
	refused := make(map[uint64]*peer.Refusal, len(w.Refused))
	for i := range w.Refused {
		refused[w.Refused[i].N] = &w.Refused[i].Refusal
	}
	for l.numbered > 0 && l.first() <= w.Last {
		l.answer(refused[l.first()])
	}
	if len(w.Refused) > 0 {
		l.ack = w.Last
	}
	return nil
}

// answer answers the front entry: kept, if there is no refusal.
func (l *lane) answer(r *peer.Refusal) {
	if r == nil {
		l.pop(Answer{Kind: KeptAnswer}, 0)
		return
	}
	l.pop(Answer{Kind: RefusedAnswer, Err: refusalError(l.shard, r)}, r.Reason)
}

// answers takes the leader's answers.
func (l *lane) answers(m *peer.Answers) error {
	first := l.first()
	if m.Through >= first+uint64(l.sent) {
		return fmt.Errorf("shard %d answers up to %d; sent are %d to %d", l.shard, m.Through, first, first+uint64(l.sent)-1)
	}
	if m.Through < first {
		return nil // said before, in a Welcome
	}
	except := make(map[uint64]*peer.Exception, len(m.Except))
	for i := range m.Except {
		x := &m.Except[i]
		except[x.N] = x
		if !x.NoView() {
			l.ack = m.Through
		}
	}
	for n := first; n <= m.Through; n++ {
		switch x := except[n]; {
		case x == nil:
			l.answer(nil)
		case x.NoView():
			l.pop(Answer{Kind: NoViewAnswer}, 0)
		default:
			l.answer(x.Refusal)
		}
	}
	return nil
}

// forget gives the lane up: what has a number is unknown, the rest waits for another lane.
func (l *lane) forget() {
	for l.numbered > 0 {
		l.pop(Answer{Kind: UnknownAnswer, Err: unknownError(l.shard)}, 0)
	}
	l.id, l.last, l.void, l.sent, l.ack = 0, 0, 0, 0, 0
}

// next fills items with what is to be sent now, at most about so many bytes, and numbers what has no number yet. The items point into the queue.
func (l *lane) next(items []peer.PublishItem, bytes int, now time.Time) []peer.PublishItem {
	for l.id != 0 && l.sent < l.len() && bytes > 0 {
		e := l.at(l.sent)
		if l.sent == l.numbered {
			l.last++
			l.numbered++
			e.since = now
		}
		items = append(items, peer.PublishItem{N: l.first() + uint64(l.sent), Void: l.sent < l.void, Address: e.address, Payload: e.payload})
		bytes -= int(e.bytes())
		l.sent++
	}
	return items
}

// refuseWaiting refuses what has waited for a leader since before the given time and has no number: it is known not to be kept.
func (l *lane) refuseWaiting(before time.Time) {
	n := l.numbered
	for n < l.len() && !l.at(n).since.After(before) {
		n++
	}
	if n == l.numbered {
		return
	}
	err := localRefusal(l.shard, peer.ReasonNoMajority, retryAfter)
	for i := l.numbered; i < n; i++ {
		e := l.at(i)
		l.bytes -= e.bytes()
		l.out = append(l.out, answered{e.receipt, Answer{Kind: RefusedAnswer, Err: err}, peer.ReasonNoMajority})
	}
	rest := l.queue[:l.head+l.numbered]
	end := len(l.queue)
	l.queue = append(rest, l.queue[l.head+n:]...)
	clear(l.queue[len(l.queue):end])
}

// retryAfter is what publishers are told where nobody knows better.
const retryAfter = time.Second

// voidUnknown answers what was sent before the given time and has no answer yet: its outcome is unknown. It keeps its number, so that the lane
// goes on, but not its bytes.
func (l *lane) voidUnknown(before time.Time) {
	for l.void < l.numbered && !l.at(l.void).since.After(before) {
		e := l.at(l.void)
		l.bytes -= e.bytes()
		l.out = append(l.out, answered{e.receipt, Answer{Kind: UnknownAnswer, Err: unknownError(l.shard)}, 0})
		*e = entry{since: e.since}
		l.bytes += e.bytes()
		l.void++
	}
}

// due is when voidUnknown or refuseWaiting has something to do next.
func (l *lane) due(unknownAfter, waitFor time.Duration) (at time.Time, ok bool) {
	if l.void < l.numbered {
		at, ok = l.at(l.void).since.Add(unknownAfter), true
	}
	if l.numbered < l.len() {
		if t := l.at(l.numbered).since.Add(waitFor); !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	return at, ok
}
