package shard

import "slices"

// spans are ranges of one topic's positions, sorted and apart. Neighbours that touch (no message lies between) and have
// the same cause are one.
type spans []Settled

// rest appends to buf what of r is not in s, in order, without parts that hold no message. False means that the totals
// of r can't be right beside those of s; then buf is unchanged.
func (s spans) rest(r Range, buf []Range) ([]Range, bool) {
	start := len(buf)
	i := s.after(r.From)
	if !r.end().behind(r.begin()) || i > 0 && !r.begin().behind(s[i-1].end()) {
		return buf, false
	}
	for ; i < len(s) && s[i].From <= r.Through; i++ {
		e := &s[i].Range
		if e.From > r.From {
			if !e.begin().behind(r.begin()) {
				return buf[:start], false
			}
			buf = appendPiece(buf, Range{From: r.From, Through: e.From - 1, Before: r.Before, At: e.Before})
		} else if !r.begin().behind(e.begin()) {
			return buf[:start], false
		}
		if e.Through >= r.Through {
			if !e.end().behind(r.end()) {
				return buf[:start], false
			}
			return buf, true
		}
		if !r.end().behind(e.end()) {
			return buf[:start], false
		}
		r.From, r.Before = e.Through+1, e.At
	}
	if i < len(s) && !s[i].begin().behind(r.end()) {
		return buf[:start], false
	}
	return appendPiece(buf, r), true
}

// appendPiece appends r if it holds a message.
func appendPiece(buf []Range, r Range) []Range {
	if r.At == r.Before {
		return buf
	}
	return append(buf, r)
}

// add puts in a range that rest gave out.
func (s spans) add(r Range, cause Cause) spans {
	from := s.after(r.From)
	to := from
	if from > 0 && s[from-1].Cause == cause && s[from-1].At.Messages == r.Before.Messages {
		from--
		r.From, r.Before = s[from].From, s[from].Before
	}
	if to < len(s) && s[to].Cause == cause && s[to].Before.Messages == r.At.Messages {
		r.Through, r.At = s[to].Through, s[to].At
		to++
	}
	if to == from+1 {
		s[from] = Settled{Range: r, Cause: cause}
		return s
	}
	return slices.Replace(s, from, to, Settled{Range: r, Cause: cause})
}

// absorb removes the spans that touch pos at the front, one after the other, and returns the position at their end.
func (s spans) absorb(pos Position) (spans, Position) {
	n := 0
	for n < len(s) && s[n].Before.Messages == pos.Totals.Messages {
		pos = Position{Seq: s[n].Through, Totals: s[n].At}
		n++
	}
	return s.dropFront(n), pos
}

// dropFront keeps the memory, so that a list that loses at its front and gains at its end does not grow.
func (s spans) dropFront(n int) spans {
	if n == 0 {
		return s
	}
	return s[:copy(s, s[n:])]
}

// holds says whether seq lies in one of the spans.
func (s spans) holds(seq uint64) bool {
	i := s.after(seq)
	return i < len(s) && s[i].From <= seq
}

// after is the index of the first span that does not end before seq.
func (s spans) after(seq uint64) int {
	i, _ := slices.BinarySearchFunc(s, seq, func(e Settled, seq uint64) int {
		switch {
		case e.Through < seq:
			return -1
		case e.Through > seq:
			return 1
		}
		return 0
	})
	return i
}

// totals is what the spans hold together.
func (s spans) totals() Totals {
	var t Totals
	for i := range s {
		t = t.Add(s[i].Totals())
	}
	return t
}

// diff calls gone for each key (a span's first position) of before that is not in after, and put for each span of after
// that is not the same in before. Both are sorted.
func (before spans) diff(after spans, gone func(from uint64), put func(*Settled)) {
	i := 0
	for j := range after {
		for i < len(before) && before[i].From < after[j].From {
			gone(before[i].From)
			i++
		}
		if i < len(before) && before[i].From == after[j].From {
			if before[i] != after[j] {
				put(&after[j])
			}
			i++
			continue
		}
		put(&after[j])
	}
	for ; i < len(before); i++ {
		gone(before[i].From)
	}
}
