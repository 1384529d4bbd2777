package leader

import (
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// senderBytes is what one session's publishes may take of a command before it is another's turn.
const senderBytes = 64 << 10

// take is one publish in the command.
type take struct {
	s     *session
	item  peer.PublishItem
	topic *topicTurn
}

// topicTurn is what a turn does to one topic.
type topicTurn struct {
	address string
	topic   *topic         // nil until something is kept
	exists  bool           // somebody subscribes
	decided bool           // what follows is known
	most    shard.Totals   // what its publishes would add if all were kept
	head    shard.Position // before the command
	added   shard.Totals   // what is kept adds
	kept    []message      // ... and where it lies

	rejectors []*rejector    // may come to their limit in this turn
	droppers  []shard.Cursor // may overflow in this turn
}

// takePublishes adds publishes to the command, from all routers in turns, until it is full. A command that changes who
// subscribes, or how much they take, has none: what is decided here would be decided on what was before.
func (r *reign) takePublishes(t *turn) {
	if len(t.cmd.Start)+len(t.cmd.End)+len(t.cmd.Limits) > 0 {
		return
	}
	topics := map[string]*topicTurn{}
	for r.senders.len() > 0 && t.bytes < r.l.cfg.CommandBytes {
		s := r.senders.pop()
		if r.takeFrom(t, s, topics); len(s.inbox) > 0 && !s.over {
			r.senders.push(s)
		} else {
			s.inbox, s.sending = nil, false
		}
	}
	if len(t.takes) > 0 {
		r.decide(t)
	}
}

// takeFrom takes publishes of one session, in the order of their numbers.
func (r *reign) takeFrom(t *turn, s *session, topics map[string]*topicTurn) {
	repeated, bytes, n := uint64(0), 0, 0
	for n < len(s.inbox) && !s.over && bytes < senderBytes && t.bytes < r.l.cfg.CommandBytes {
		item := &s.inbox[n]
		n++
		size := publishBytes(item)
		s.waiting.Add(-size)
		switch {
		case item.N < s.next:
			if repeated == 0 {
				repeated = item.N
			}
			continue
		case item.N > s.next:
			r.reset(s, "a number of the lane is missing")
			return
		}
		s.next++
		bytes += int(size)
		t.bytes += int(size)
		at := topics[item.Address]
		if at == nil {
			at = &topicTurn{address: item.Address}
			topics[item.Address] = at
			t.topics = append(t.topics, at)
		}
		if !item.Void {
			at.most = at.most.Add(shard.Size(len(item.Payload)))
		}
		t.takes = append(t.takes, take{s: s, item: *item, topic: at})
	}
	s.inbox = s.inbox[n:]
	if repeated != 0 && repeated < s.next {
		r.answerRepeated(s, repeated)
	}
}

// decide says of each publish whether it is kept, and what the limits give up for it.
func (r *reign) decide(t *turn) {
	f := r.m.Forecast()
	r.lookAtPressure()
	pressed := r.pressureRefusal()
	for i := range t.takes {
		x := &t.takes[i]
		p := shard.Publish{Lane: x.s.lane, N: x.item.N, Address: x.item.Address, Payload: x.item.Payload}
		switch {
		case x.item.Void:
			p.Verdict, p.Payload = shard.Void, nil
		default:
			at := x.topic
			if !at.decided {
				r.lookAt(t, at, f)
			}
			size := shard.Size(len(p.Payload))
			refusal := (*shard.Refusal)(nil)
			switch {
			case !at.exists:
				p.Verdict = shard.NoView
			case pressed != nil:
				refusal = toShardRefusal(*pressed)
			default:
				refusal = r.refusedBy(at, size)
			}
			if refusal != nil {
				p.Verdict, p.Refusal = shard.Refuse, refusal
			}
			if p.Verdict != shard.Keep {
				p.Payload = nil
				break
			}
			pos, _ := f.Keep(p.Address, len(p.Payload))
			at.added = at.added.Add(size)
			at.kept = append(at.kept, message{seq: pos.Seq, time: never64, before: pos.Totals.Sub(size), at: pos.Totals})
			for _, j := range at.rejectors {
				j.take(size)
			}
		}
		t.cmd.Publish = append(t.cmd.Publish, p)
	}
	for _, at := range t.topics {
		if len(at.kept) > 0 {
			r.makeRoom(t, at)
			at.topic = r.topic(at.address)
			r.markTail(t, at.topic, at.kept[len(at.kept)-1].seq)
		}
	}
}

// never64 is a time that no age reaches.
const never64 = int64(1<<63 - 1)

// lookAt learns of a topic what decisions on its publishes need. Nothing here looks at subscriptions that are far from
// their limits.
func (r *reign) lookAt(t *turn, at *topicTurn, f *shard.Forecast) {
	at.decided = true
	at.head, at.exists = f.Topic(at.address)
	if !at.exists {
		return
	}
	// One more than there is, so that who will be exactly at the limit is seen, too.
	most := at.head.Totals.Add(at.most).Add(shard.Size(0))
	for _, sub := range r.m.Overflowing(at.address, most) {
		cur, ok := r.m.Cursor(sub)
		switch {
		case !ok:
		case cur.Limits.Overflow == shard.Reject:
			at.rejectors = append(at.rejectors, r.newRejector(cur, t.plans[sub]))
		default:
			at.droppers = append(at.droppers, cur)
		}
	}
}

// publishesApplied answers lanes, and hands what was kept to the topics.
func (r *reign) publishesApplied(t *turn, res *shard.Result) {
	if len(t.takes) == 0 {
		return
	}
	var a arena
	answers := map[*session]*peer.Answers{}
	var last *session
	var answer *peer.Answers
	for i := range t.takes {
		x := &t.takes[i]
		out := res.Publish[i]
		r.l.metrics.published(&t.cmd.Publish[i], out.Status)
		if x.s != last {
			last = x.s
			if answer = answers[last]; answer == nil {
				answer = new(peer.Answers)
				answers[last] = answer
			}
		}
		answer.Through = x.item.N
		switch out.Status {
		case shard.StatusKept:
			r.keptApplied(x, out, res.Time, &a)
		case shard.StatusNoView:
			answer.Except = append(answer.Except, peer.Exception{N: x.item.N})
		case shard.StatusRefused:
			refusal := peer.Refusal{Condition: condLimit, Reason: peer.ReasonVoid}
			if f := t.cmd.Publish[i].Refusal; f != nil {
				refusal = toPeerRefusal(*f)
			}
			answer.Except = append(answer.Except, peer.Exception{N: x.item.N, Refusal: &refusal})
		default:
			// The lane was forgotten, or another command took the number: they have to agree again.
			answer.Through = 0
			r.reset(x.s, "the lane is not as it was")
		}
	}
	for s, answer := range answers {
		if answer.Through > 0 {
			s.say(answer)
		}
	}
}

func (r *reign) keptApplied(x *take, out shard.PublishResult, time int64, a *arena) {
	p := x.topic.topic
	if p == nil {
		return
	}
	size := shard.Size(len(x.item.Payload))
	m := message{seq: out.At.Seq, time: time, before: out.At.Totals.Sub(size), at: out.At.Totals}
	if p.links > 0 {
		m.payload = a.copy(x.item.Payload)
	}
	r.append(p, m)
}

func (r *reign) retryAfter() uint32 { return uint32(r.l.cfg.RetryAfter.Milliseconds()) }
