package shard

import (
	"errors"
	"fmt"

	"github.com/posthouse/posthouse/storage"
)

// ErrNewer says that a command was made by a newer version, whose meaning is not known here. It must not be
// skipped: this replica would become another than the others.
var ErrNewer = errors.New("command is of a newer version")

// ErrMalformed says that bytes are no command.
var ErrMalformed = errors.New("malformed command")

// Decode reads a command into c, reusing its lists: what was decoded into c before is overwritten. Payloads are
// parts of data. Errors are ErrNewer or ErrMalformed, wrapped.
func (c *Command) Decode(data []byte) error {
	var d decoder
	return d.decode(c, data, nil)
}

// Empty says whether the command does nothing.
func (c *Command) Empty() bool {
	return len(c.LaneOpen) == 0 && len(c.LaneForget) == 0 && len(c.Start) == 0 && len(c.End) == 0 && len(c.Limits) == 0 &&
		len(c.Attach) == 0 && len(c.Leave) == 0 && len(c.AckRefusals) == 0 && len(c.Confirm) == 0 && len(c.Fail) == 0 &&
		len(c.Rejected) == 0 && len(c.GiveUp) == 0 && len(c.Heard) == 0 && len(c.Mark) == 0 && len(c.Trim) == 0 &&
		len(c.Publish) == 0 && len(c.Evict) == 0
}

// Reset empties the command and keeps its memory.
func (c *Command) Reset() {
	clear(c.Publish) // payloads and refusals are not to be held
	*c = Command{LaneOpen: c.LaneOpen[:0], LaneForget: c.LaneForget[:0], Start: c.Start[:0], End: c.End[:0],
		Limits: c.Limits[:0], Attach: c.Attach[:0], Leave: c.Leave[:0], AckRefusals: c.AckRefusals[:0],
		Confirm: c.Confirm[:0], Fail: c.Fail[:0], Rejected: c.Rejected[:0], GiveUp: c.GiveUp[:0], Heard: c.Heard[:0],
		Mark: c.Mark[:0], Trim: c.Trim[:0], Publish: c.Publish[:0], Evict: c.Evict[:0]}
}

// decoder reads commands. Its memory is reused: what it decoded is valid until the next command.
type decoder struct {
	storage.Fields
	intern    func([]byte) string // of addresses; may be nil
	addresses []string
	ranges    []Range   // of all items; items hold parts of it
	refusals  []Refusal // of all items
}

func (d *decoder) decode(c *Command, data []byte, intern func([]byte) string) error {
	c.Reset()
	d.Fields = storage.ReadFields(data)
	d.intern = intern
	d.addresses, d.ranges, d.refusals = d.addresses[:0], d.ranges[:0], d.refusals[:0]
	if v := d.Byte(); d.Err() == nil && v != commandVersion {
		d.Fail(fmt.Errorf("%w: version %d, known is %d", ErrNewer, v, commandVersion))
	}
	if features := d.Uint(); features != 0 {
		d.Fail(fmt.Errorf("%w: features %#x", ErrNewer, features))
	}
	for last := byte(0); d.Len() > 0; {
		tag := d.Byte()
		if tag <= last {
			d.Fail(errors.New("sections are out of order"))
		}
		last = tag
		d.section(c, tag)
	}
	switch err := d.Done(); {
	case err == nil:
		return nil
	case errors.Is(err, ErrNewer):
		c.Reset()
		return err
	default:
		c.Reset()
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
}

func (d *decoder) section(c *Command, tag byte) {
	switch tag {
	case tagLaneOpen:
		c.LaneOpen = items(d, c.LaneOpen, 2, func() LaneOpen { return LaneOpen{Router: d.Text(), Boot: d.Uint()} })
	case tagLaneForget:
		c.LaneForget = items(d, c.LaneForget, 1, d.Uint)
	case tagStart:
		c.Start = items(d, c.Start, 12, func() Start {
			return Start{Sub: d.Uint(), Address: d.Text(), Limits: d.Limits(), Owner: d.Text(), Name: d.Text()}
		})
	case tagEnd:
		c.End = items(d, c.End, 1, d.Uint)
	case tagLimits:
		c.Limits = items(d, c.Limits, 9, func() SetLimits { return SetLimits{Sub: d.Uint(), Limits: d.Limits()} })
	case tagAttach:
		c.Attach = items(d, c.Attach, 5, func() Attach {
			return Attach{Sub: d.Uint(), Gen: d.Uint(), Boot: d.Uint(), Mark: d.Uint(), Router: d.Text()}
		})
	case tagLeave:
		c.Leave = items(d, c.Leave, 3, func() Leave { return Leave{Sub: d.Uint(), Gen: d.Uint(), Mark: d.Uint()} })
	case tagAckRefusals:
		c.AckRefusals = items(d, c.AckRefusals, 2, func() AckRefusals { return AckRefusals{Lane: d.Uint(), Through: d.Uint()} })
	case tagConfirm:
		c.Confirm = items(d, c.Confirm, 2, d.confirm)
	case tagFail:
		c.Fail = items(d, c.Fail, 3, func() Fail { return Fail{Sub: d.Uint(), Seq: d.Uint(), Count: d.Uint32()} })
	case tagRejected:
		c.Rejected = items(d, c.Rejected, 2, d.confirm)
	case tagGiveUp:
		c.GiveUp = items(d, c.GiveUp, 3, d.giveUp)
	case tagHeard:
		c.Heard = items(d, c.Heard, 2, func() Heard { return Heard{Sub: d.Uint(), Version: d.Uint()} })
	case tagMark:
		c.Mark = items(d, c.Mark, 2, func() Mark { return Mark{Sub: d.Uint(), Mark: d.Uint()} })
	case tagTrim:
		c.Trim = items(d, c.Trim, 7, func() Trim { return Trim{Topic: d.Uint(), Range: d.span()} })
	case tagAddresses:
		d.addresses = items(d, d.addresses, 1, d.address)
	case tagPublish:
		c.Publish = items(d, c.Publish, 5, d.publish)
	case tagEvict:
		c.Evict = items(d, c.Evict, 3, d.giveUp)
	default:
		d.Fail(fmt.Errorf("%w: part %d", ErrNewer, tag))
	}
}

// items appends the items of a section to list. Each takes at least size bytes.
func items[T any](d *decoder, list []T, size int, one func() T) []T {
	n := d.Count(size)
	if n == 0 {
		d.Fail(errors.New("a section is empty"))
	}
	for range n {
		x := one()
		if d.Err() != nil {
			break
		}
		list = append(list, x)
	}
	return list
}

func (d *decoder) confirm() Confirm { return Confirm{Sub: d.Uint(), Ranges: d.spans()} }

func (d *decoder) giveUp() GiveUp {
	return GiveUp{Sub: d.Uint(), Cause: d.cause(), Ranges: d.spans()}
}

func (d *decoder) cause() Cause {
	c := Cause(d.Byte())
	if c >= Causes {
		d.Fail(fmt.Errorf("%w: cause %d", ErrNewer, c))
	}
	return c
}

func (d *decoder) spans() []Range {
	start := len(d.ranges)
	for range d.Count(6) {
		r := d.span()
		if d.Err() != nil {
			break
		}
		d.ranges = append(d.ranges, r)
	}
	return d.ranges[start:len(d.ranges):len(d.ranges)]
}

func (d *decoder) span() Range {
	r := Range{From: d.Uint()}
	r.Through = r.From + uint64(d.Int())
	r.Before = d.Totals()
	r.At.Messages = r.Before.Messages + uint64(d.Int())
	r.At.Bytes = r.Before.Bytes + uint64(d.Int())
	return r
}

func (d *decoder) address() string {
	b := d.Bytes()
	if d.intern != nil {
		return d.intern(b)
	}
	return string(b)
}

func (d *decoder) publish() Publish {
	p := Publish{Lane: d.Uint(), N: d.Uint(), Verdict: Verdict(d.Byte())}
	if i := d.Uint(); i < uint64(len(d.addresses)) {
		p.Address = d.addresses[i]
	} else {
		d.Fail(errors.New("an address is not in the command"))
	}
	switch p.Verdict {
	case Keep, NoView, Void:
		p.Payload = d.Bytes()
	case Refuse:
		d.refusals = append(d.refusals, d.Refusal())
		p.Refusal = &d.refusals[len(d.refusals)-1]
	default:
		d.Fail(fmt.Errorf("%w: verdict %d", ErrNewer, p.Verdict))
	}
	return p
}
