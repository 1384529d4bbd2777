package shard

import (
	"encoding/binary"

	"github.com/posthouse/posthouse/storage"
)

// A command is its version, a set of features, and a section for each part that is not empty: a tag, the number of
// items, the items. Sections come in the order of their tags, each once. A new field or part comes with a new tag or a
// feature's bit, and is used only once every replica knows it (a cluster's feature level says so).
const commandVersion = 1

// Tags. Numbers are part of the format.
const (
	tagLaneOpen    = 1
	tagLaneForget  = 2
	tagStart       = 3
	tagEnd         = 4
	tagLimits      = 5
	tagAttach      = 6
	tagLeave       = 7
	tagAckRefusals = 8
	tagConfirm     = 9
	tagFail        = 10
	tagRejected    = 11
	tagGiveUp      = 12
	tagHeard       = 13
	tagMark        = 14
	tagTrim        = 15
	tagAddresses   = 16 // what Publish refers to
	tagPublish     = 17
	tagEvict       = 18
)

// Encode appends the command's bytes.
func (c *Command) Encode(b []byte) []byte {
	b = append(b, commandVersion, 0)
	b = appendSection(b, tagLaneOpen, c.LaneOpen, func(b []byte, x *LaneOpen) []byte {
		b = storage.AppendText(b, x.Router)
		return binary.AppendUvarint(b, x.Boot)
	})
	b = appendSection(b, tagLaneForget, c.LaneForget, appendNumber)
	b = appendSection(b, tagStart, c.Start, func(b []byte, x *Start) []byte {
		b = binary.AppendUvarint(b, x.Sub)
		b = storage.AppendText(b, x.Address)
		b = storage.AppendLimits(b, x.Limits)
		b = storage.AppendText(b, x.Owner)
		return storage.AppendText(b, x.Name)
	})
	b = appendSection(b, tagEnd, c.End, appendNumber)
	b = appendSection(b, tagLimits, c.Limits, func(b []byte, x *SetLimits) []byte {
		b = binary.AppendUvarint(b, x.Sub)
		return storage.AppendLimits(b, x.Limits)
	})
	b = appendSection(b, tagAttach, c.Attach, func(b []byte, x *Attach) []byte {
		b = appendNumbers(b, x.Sub, x.Gen, x.Boot, x.Mark)
		return storage.AppendText(b, x.Router)
	})
	b = appendSection(b, tagLeave, c.Leave, func(b []byte, x *Leave) []byte { return appendNumbers(b, x.Sub, x.Gen, x.Mark) })
	b = appendSection(b, tagAckRefusals, c.AckRefusals, func(b []byte, x *AckRefusals) []byte {
		return appendNumbers(b, x.Lane, x.Through)
	})
	b = appendSection(b, tagConfirm, c.Confirm, appendConfirm)
	b = appendSection(b, tagFail, c.Fail, func(b []byte, x *Fail) []byte {
		return appendNumbers(b, x.Sub, x.Seq, uint64(x.Count))
	})
	b = appendSection(b, tagRejected, c.Rejected, appendConfirm)
	b = appendSection(b, tagGiveUp, c.GiveUp, appendGiveUp)
	b = appendSection(b, tagHeard, c.Heard, func(b []byte, x *Heard) []byte { return appendNumbers(b, x.Sub, x.Version) })
	b = appendSection(b, tagMark, c.Mark, func(b []byte, x *Mark) []byte { return appendNumbers(b, x.Sub, x.Mark) })
	b = appendSection(b, tagTrim, c.Trim, func(b []byte, x *Trim) []byte {
		b = binary.AppendUvarint(b, x.Topic)
		return appendRange(b, &x.Range)
	})
	b = c.appendPublish(b)
	return appendSection(b, tagEvict, c.Evict, appendGiveUp)
}

// appendPublish names each address once: a command has many publishes to few addresses.
func (c *Command) appendPublish(b []byte) []byte {
	if len(c.Publish) == 0 {
		return b
	}
	addresses := newAddressTable(c.Publish)
	b = appendSection(b, tagAddresses, addresses.list, func(b []byte, s *string) []byte {
		return storage.AppendText(b, *s)
	})
	return appendSection(b, tagPublish, c.Publish, func(b []byte, p *Publish) []byte {
		b = appendNumbers(b, p.Lane, p.N)
		b = append(b, byte(p.Verdict))
		b = binary.AppendUvarint(b, uint64(addresses.index(p.Address)))
		if p.Verdict == Refuse {
			return storage.AppendRefusal(b, p.refusal())
		}
		return storage.AppendText(b, p.Payload)
	})
}

// refusal is the publish's refusal, or an empty one.
func (p *Publish) refusal() *Refusal {
	if p.Refusal == nil {
		return &Refusal{}
	}
	return p.Refusal
}

func appendSection[T any](b []byte, tag byte, items []T, one func([]byte, *T) []byte) []byte {
	if len(items) == 0 {
		return b
	}
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(len(items)))
	for i := range items {
		b = one(b, &items[i])
	}
	return b
}

func appendNumber(b []byte, n *uint64) []byte { return binary.AppendUvarint(b, *n) }

func appendNumbers(b []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func appendConfirm(b []byte, x *Confirm) []byte {
	b = binary.AppendUvarint(b, x.Sub)
	return appendRanges(b, x.Ranges)
}

func appendGiveUp(b []byte, x *GiveUp) []byte {
	b = binary.AppendUvarint(b, x.Sub)
	b = append(b, byte(x.Cause))
	return appendRanges(b, x.Ranges)
}

func appendRanges(b []byte, ranges []Range) []byte {
	b = binary.AppendUvarint(b, uint64(len(ranges)))
	for i := range ranges {
		b = appendRange(b, &ranges[i])
	}
	return b
}

// appendRange writes ends as (signed) differences, which are small. Ranges that make no sense pass: Apply leaves them out.
func appendRange(b []byte, r *Range) []byte {
	b = binary.AppendUvarint(b, r.From)
	b = binary.AppendVarint(b, int64(r.Through-r.From))
	b = storage.AppendTotals(b, r.Before)
	b = binary.AppendVarint(b, int64(r.At.Messages-r.Before.Messages))
	return binary.AppendVarint(b, int64(r.At.Bytes-r.Before.Bytes))
}

// addressTable numbers the distinct addresses of a command in the order in which they appear.
type addressTable struct {
	list  []string
	known map[string]int // only if there are many
	last  int
}

// fewAddresses is up to how many a look along the list is cheaper than a map.
const fewAddresses = 8

func newAddressTable(publishes []Publish) *addressTable {
	t := &addressTable{}
	for i := range publishes {
		if a := publishes[i].Address; t.index(a) < 0 {
			t.add(a)
		}
	}
	return t
}

func (t *addressTable) add(address string) {
	t.list = append(t.list, address)
	switch {
	case t.known != nil:
		t.known[address] = len(t.list) - 1
	case len(t.list) > fewAddresses:
		t.known = make(map[string]int)
		for i, a := range t.list {
			t.known[a] = i
		}
	}
}

// index is the address's number, -1 if it has none.
func (t *addressTable) index(address string) int {
	if t.last < len(t.list) && t.list[t.last] == address {
		return t.last
	}
	if t.known != nil {
		i, ok := t.known[address]
		if !ok {
			return -1
		}
		t.last = i
		return i
	}
	for i, a := range t.list {
		if a == address {
			t.last = i
			return i
		}
	}
	return -1
}
