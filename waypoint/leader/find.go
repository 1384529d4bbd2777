package leader

import (
	"sort"

	"github.com/posthouse/posthouse/waypoint/shard"
)

// goal is what a message is looked for by: something that only grows from one message of a topic to the next. Zero parts
// are met by all.
type goal struct {
	messages, bytes uint64 // the topic's totals with it are at least that
	younger         int64  // it was kept after that
	beyond          uint64 // it lies behind that position
}

func (g *goal) met(m *message) bool {
	return m.at.Messages >= g.messages && m.at.Bytes >= g.bytes && (g.younger == 0 || m.time > g.younger) && m.seq > g.beyond
}

// finder finds messages of a topic. It looks in memory first.
type finder struct {
	r       *reign
	topic   uint64
	recent  *recent   // may be nil
	applied uint64    // what lies above is in kept alone
	kept    []message // of the command under construction
	failed  bool      // storage failed
}

// search names a search, so that of many subscriptions at the same place only the first one reads. What was found holds for
// one turn.
type search struct {
	topic, from, through uint64
	goal                 goal
}

// recentOf is what is remembered of an address's topic, nil if nothing is.
func (r *reign) recentOf(address string) *recent {
	if t := r.topics[address]; t != nil {
		return &t.recent
	}
	return nil
}

// first is the first message in x that meets the goal.
func (f *finder) first(x shard.Range, g goal) (message, bool) {
	if x.From <= f.applied {
		if m, ok := f.firstApplied(x.From, min(x.Through, f.applied), &g); ok || f.failed {
			return m, ok
		}
	}
	i := sort.Search(len(f.kept), func(i int) bool { return f.kept[i].seq >= x.From && g.met(&f.kept[i]) })
	if i < len(f.kept) && f.kept[i].seq <= x.Through {
		return f.kept[i], true
	}
	return message{}, false
}

func (f *finder) firstApplied(from, through uint64, g *goal) (message, bool) {
	onDisk := through
	if f.recent != nil {
		onDisk = min(onDisk, f.recent.base)
	}
	if from <= onDisk {
		if m, ok := f.firstOnDisk(from, onDisk, g); ok || f.failed {
			return m, ok
		}
	}
	if f.recent != nil && through > onDisk {
		if m := f.recent.firstWhere(max(from-1, f.recent.base), g.met); m != nil && m.seq <= through {
			return *m, true
		}
	}
	return message{}, false
}

// walkFirst is how many messages are walked over before searching begins: mostly it is one of the next.
const walkFirst = 32

func (f *finder) firstOnDisk(from, through uint64, g *goal) (found message, ok bool) {
	key := search{f.topic, from, through, *g}
	if m, is := f.r.found[key]; is {
		return m, m.seq != 0
	}
	found, ok, next := f.walk(from, through, walkFirst, g.met)
	if !ok && next != 0 {
		found, ok = f.halve(next, through, g)
	}
	if !f.failed {
		f.r.found[key] = found
	}
	return found, ok
}

// halve searches from a position on: first in longer and longer steps, since what is to be given up mostly lies at the front,
// then by halves.
func (f *finder) halve(low, high uint64, g *goal) (found message, ok bool) {
	any := func(*message) bool { return true }
	step, far := uint64(2*walkFirst), true
	// No message below low meets the goal; if one does at all, found is one, or one between low and high.
	for low <= high && !f.failed {
		at := low + (high-low)/2
		if far = far && step < high-low; far {
			at = low + step
			step *= 2
		}
		m, there, _ := f.walk(at, high, 1, any)
		switch {
		case !there:
			high = at - 1
			far = false
		case g.met(&m):
			found, ok = m, true
			high = at - 1
			far = false
		default:
			low = m.seq + 1
		}
	}
	return found, ok && !f.failed
}

// walk looks at up to n messages from a position on. next is where to go on if it did not come to the end, 0 if it did.
func (f *finder) walk(from, through uint64, n int, wanted func(*message) bool) (found message, ok bool, next uint64) {
	w, err := f.r.m.Messages(f.topic, from)
	if err == nil {
		for range n {
			if !w.Next() {
				next = 0
				break
			}
			sm := w.Message()
			if sm.Seq > through {
				next = 0
				break
			}
			m := message{seq: sm.Seq, time: sm.Time, before: sm.Before, at: sm.At}
			if wanted(&m) {
				found, ok = m, true
				break
			}
			next = m.seq + 1
		}
		err = w.Close()
	}
	if err != nil {
		f.failed = true
		f.r.l.log.Error("looking for the oldest messages failed", "error", err)
		return message{}, false, 0
	}
	return found, ok, next
}
