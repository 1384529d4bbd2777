package shard

import (
	"fmt"
	"maps"
	"slices"
)

// command makes a random command. It knows the model, as a leader knows its state: its ranges are right, if often late.
func (h *history) command() Command {
	var c Command
	often := func(n int, part func(*Command)) {
		for h.rng.IntN(n) == 0 {
			part(&c)
		}
	}
	often(10, h.laneOpen)
	often(60, func(c *Command) { c.LaneForget = append(c.LaneForget, h.anyLane()) })
	before := len(c.Start)
	often(6, h.start)
	if len(h.model.cursors) == 0 && len(c.Start) == before {
		h.start(&c)
	}
	often(25, func(c *Command) { c.End = append(c.End, h.anySub()) })
	often(8, func(c *Command) { c.Limits = append(c.Limits, SetLimits{h.anySub(), h.limits()}) })
	often(6, func(c *Command) {
		c.Attach = append(c.Attach, Attach{Sub: h.anySub(), Gen: h.rng.Uint64N(30), Router: fmt.Sprint("r", h.rng.IntN(3)),
			Boot: h.rng.Uint64N(3), Mark: h.rng.Uint64N(h.model.seq + 100)})
	})
	often(10, func(c *Command) {
		c.Leave = append(c.Leave, Leave{h.anySub(), h.rng.Uint64N(30), (h.model.seq + h.rng.Uint64N(100)) * h.rng.Uint64N(2)})
	})
	often(6, func(c *Command) { c.AckRefusals = append(c.AckRefusals, AckRefusals{h.anyLane(), h.rng.Uint64N(60)}) })
	often(2, func(c *Command) { c.Confirm = append(c.Confirm, h.confirm()) })
	often(3, func(c *Command) {
		sub := h.anySub()
		if seqs := h.positions(sub); len(seqs) > 0 {
			c.Fail = append(c.Fail, Fail{sub, seqs[h.rng.IntN(len(seqs))], uint32(1 + h.rng.IntN(4))})
		}
	})
	often(5, func(c *Command) { c.Rejected = append(c.Rejected, h.confirm()) })
	often(4, func(c *Command) { c.GiveUp = append(c.GiveUp, h.giveUp()) })
	often(3, func(c *Command) {
		c.Heard = append(c.Heard, Heard{h.anySub(), h.a.index - min(h.a.index, h.rng.Uint64N(12))})
	})
	often(5, func(c *Command) { c.Mark = append(c.Mark, Mark{h.anySub(), h.rng.Uint64N(h.model.seq + 100)}) })
	often(3, h.trim)
	h.publish(&c)
	return c
}

func (h *history) anySub() uint64 {
	subs := slices.Sorted(maps.Keys(h.model.cursors))
	if len(subs) == 0 || h.rng.IntN(20) == 0 {
		return 1 + h.rng.Uint64N(h.subs+1)
	}
	return subs[h.rng.IntN(len(subs))]
}

func (h *history) anyLane() uint64 { return 1 + h.rng.Uint64N(h.model.laneID+1) }

func (h *history) laneOpen(c *Command) {
	c.LaneOpen = append(c.LaneOpen, LaneOpen{fmt.Sprint("r", h.rng.IntN(3)), h.rng.Uint64N(2)})
}

func (h *history) start(c *Command) {
	sub := h.anySub() // now and then one that is there, perhaps elsewhere
	if h.rng.IntN(5) != 0 {
		h.subs++
		sub = h.subs
	}
	if k := h.model.cursors[sub]; k == nil && sub != h.subs {
		return // ended: never used again
	}
	c.Start = append(c.Start, Start{Sub: sub, Address: h.address(), Limits: h.limits(), Owner: "o", Name: fmt.Sprint("n", sub)})
}

func (h *history) address() string { return fmt.Sprint("t", h.rng.IntN(3)) }

// spans picks ranges of a subscription's topic: single messages mostly, in no order, near its floor.
func (h *history) spans(sub uint64) []Range {
	k := h.model.cursors[sub]
	if k == nil || len(k.topic.messages) == k.start {
		return nil
	}
	var out []Range
	for range 1 + h.rng.IntN(4) {
		n := len(k.topic.messages)
		from := h.rng.IntN(n)
		if p := k.pending(); len(p) > 0 && h.rng.IntN(4) != 0 {
			from = slices.IndexFunc(k.topic.messages, func(x modelMessage) bool { return x.seq == p[0] })
			from = min(n-1, from+h.rng.IntN(4)*h.rng.IntN(3))
		}
		through := from
		if h.rng.IntN(3) == 0 {
			through = min(n-1, from+h.rng.IntN(8))
		}
		out = append(out, h.stretch(k.topic, from, through))
	}
	return out
}

// stretch is the range of messages from through, whose ends may lie between messages.
func (h *history) stretch(t *modelTopic, from, through int) Range {
	r := t.span(from, through)
	low, high := t.begin+1, r.Through
	if from > 0 {
		low = t.messages[from-1].seq + 1
	}
	if through+1 < len(t.messages) {
		high = t.messages[through+1].seq - 1
	}
	if h.rng.IntN(3) == 0 {
		r.From -= h.rng.Uint64N(r.From - low + 1)
		r.Through += h.rng.Uint64N(high - r.Through + 1)
	}
	return r
}

func (h *history) confirm() Confirm {
	sub := h.anySub()
	return Confirm{Sub: sub, Ranges: h.spans(sub)}
}

func (h *history) giveUp() GiveUp {
	sub := h.anySub()
	return GiveUp{Sub: sub, Cause: 1 + Cause(h.rng.IntN(int(Causes)-1)), Ranges: h.spans(sub)}
}

// positions are messages of a subscription's topic, from its start on.
func (h *history) positions(sub uint64) []uint64 {
	k := h.model.cursors[sub]
	if k == nil {
		return nil
	}
	var seqs []uint64
	for _, x := range k.topic.messages[k.start:] {
		seqs = append(seqs, x.seq)
	}
	return seqs
}

// trim asks for what may be deleted, or for anything.
func (h *history) trim(c *Command) {
	t := h.model.topics[h.address()]
	if t == nil || len(t.messages) == 0 {
		return
	}
	list := h.a.Trimmable(t.id)
	switch n := len(list); {
	case h.rng.IntN(3) == 0 || n == 0:
		from := h.rng.IntN(len(t.messages))
		list = []Range{h.stretch(t, from, from+h.rng.IntN(len(t.messages)-from))}
	default:
		list = list[h.rng.IntN(n):]
	}
	for _, r := range list {
		c.Trim = append(c.Trim, Trim{Topic: t.id, Range: r})
	}
}

// publish makes publishes with jumps and repeats, and evictions of what they bring.
func (h *history) publish(c *Command) {
	f := h.a.Forecast()
	for _, x := range c.Start {
		f.Start(x.Sub, x.Address)
	}
	for _, sub := range c.End {
		f.End(sub)
	}
	next := make(map[uint64]uint64)
	gone := make(map[uint64]bool)
	for _, id := range c.LaneForget {
		gone[id] = true
	}
	kept := make(map[string][]Range)
	for range h.rng.IntN(6) {
		lane := h.anyLane()
		if lane > h.model.laneID && len(c.LaneOpen) > 0 {
			continue // it may be there by then
		}
		l := h.model.lanes[lane]
		p := Publish{Lane: lane, N: h.rng.Uint64N(10), Address: h.address(), Payload: make([]byte, h.rng.IntN(200))}
		right := l != nil && !gone[lane]
		if right {
			last := max(l.last, next[lane])
			p.N = last + 1
			if h.rng.IntN(8) == 0 {
				p.N = last + h.rng.Uint64N(4) - min(last, h.rng.Uint64N(3))
			}
			if right = p.N == last+1; right {
				next[lane] = p.N
			}
		}
		switch h.rng.IntN(10) {
		case 0:
			p.Verdict, p.Refusal = Refuse, &Refusal{Condition: "c", Reason: 1, Used: h.rng.Uint64N(100)}
		case 1:
			p.Verdict = NoView
		case 2:
			p.Verdict = Void
		}
		c.Publish = append(c.Publish, p)
		if right && p.Verdict == Keep {
			if at, ok := f.Keep(p.Address, len(p.Payload)); ok {
				kept[p.Address] = append(kept[p.Address], Single(at.Seq, at.Totals, len(p.Payload)))
			}
		}
	}
	for _, k := range h.model.cursors {
		if list := kept[k.topic.address]; len(list) > 0 && h.rng.IntN(4) == 0 && !slices.Contains(c.End, k.sub) {
			c.Evict = append(c.Evict, GiveUp{Sub: k.sub, Cause: CauseMessages, Ranges: []Range{over(list[0], list[h.rng.IntN(len(list))])}})
		}
	}
}
