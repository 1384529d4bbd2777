package storage

import (
	"encoding/binary"
	"time"
)

// CursorRecord says what a subscription is. It is written when that changes, not when it moves on.
type CursorRecord struct {
	Topic    uint64
	Owner    string
	Name     string
	Limits   Limits
	StartSeq uint64 // where it began
	Start    Totals // there
	Gen      uint64 // of the last link that was attached
	Holders  []HolderRecord
}

// HolderRecord is a link that may hold deliveries. An exclusive subscription has at most one.
type HolderRecord struct {
	Router string
	Boot   uint64
	Gen    uint64
}

// Append appends the record.
func (c *CursorRecord) Append(b []byte) []byte {
	b = appendRecord(b)
	b = binary.AppendUvarint(b, c.Topic)
	b = AppendText(b, c.Owner)
	b = AppendText(b, c.Name)
	b = AppendLimits(b, c.Limits)
	b = binary.AppendUvarint(b, c.StartSeq)
	b = AppendTotals(b, c.Start)
	b = binary.AppendUvarint(b, c.Gen)
	b = binary.AppendUvarint(b, uint64(len(c.Holders)))
	for _, h := range c.Holders {
		b = AppendText(b, h.Router)
		b = binary.AppendUvarint(b, h.Boot)
		b = binary.AppendUvarint(b, h.Gen)
	}
	return b
}

// Decode reads the record.
func (c *CursorRecord) Decode(b []byte) error {
	f := openRecord(b)
	*c = CursorRecord{Topic: f.Uint(), Owner: f.Text(), Name: f.Text(), Limits: f.Limits(), StartSeq: f.Uint(),
		Start: f.Totals(), Gen: f.Uint()}
	for range f.Count(3) {
		c.Holders = append(c.Holders, HolderRecord{Router: f.Text(), Boot: f.Uint(), Gen: f.Uint()})
	}
	return closeRecord(&f, "cursor")
}

// AppendLimits appends what Limits reads.
func AppendLimits(b []byte, l Limits) []byte {
	b = binary.AppendUvarint(b, l.MaxMessages)
	b = binary.AppendUvarint(b, l.MaxBytes)
	b = binary.AppendUvarint(b, uint64(l.MaxAge))
	b = binary.AppendUvarint(b, uint64(l.MaxDeliveries))
	b = binary.AppendUvarint(b, uint64(l.MaxInFlight))
	b = binary.AppendUvarint(b, uint64(l.AckTimeout))
	b = binary.AppendUvarint(b, uint64(l.ExpiresAfter))
	return append(b, byte(l.Overflow))
}

// Limits reads Limits.
func (f *Fields) Limits() Limits {
	return Limits{MaxMessages: f.Uint(), MaxBytes: f.Uint(), MaxAge: time.Duration(f.Uint()), MaxDeliveries: f.Uint32(),
		MaxInFlight: f.Uint32(), AckTimeout: time.Duration(f.Uint()), ExpiresAfter: time.Duration(f.Uint()),
		Overflow: Overflow(f.Byte())}
}

// PlaceRecord says how far a cursor is: all that an ordinary confirmation changes.
type PlaceRecord struct {
	FloorSeq  uint64 // up to here all is confirmed or given up
	Floor     Totals // of the topic, there
	Mark      uint64 // up to here positions may have been handed out
	Confirmed Totals
	GivenUp   [Causes]Totals
}

// Append appends the record.
func (p *PlaceRecord) Append(b []byte) []byte {
	b = appendRecord(b)
	b = binary.AppendUvarint(b, p.FloorSeq)
	b = AppendTotals(b, p.Floor)
	b = binary.AppendUvarint(b, p.Mark)
	b = AppendTotals(b, p.Confirmed)
	n := 0
	for _, t := range p.GivenUp {
		if t != (Totals{}) {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for cause, t := range p.GivenUp {
		if t != (Totals{}) {
			b = append(b, byte(cause))
			b = AppendTotals(b, t)
		}
	}
	return b
}

// Decode reads the record.
func (p *PlaceRecord) Decode(b []byte) error {
	f := openRecord(b)
	*p = PlaceRecord{FloorSeq: f.Uint(), Floor: f.Totals(), Mark: f.Uint(), Confirmed: f.Totals()}
	for range f.Count(3) {
		cause := f.cause()
		p.GivenUp[cause] = f.Totals()
	}
	return closeRecord(&f, "place")
}

// AppendDeliveries and DecodeDeliveries are the record of a message's failed deliveries.
func AppendDeliveries(b []byte, count uint32) []byte {
	return binary.AppendUvarint(appendRecord(b), uint64(count))
}

func DecodeDeliveries(b []byte) (uint32, error) {
	f := openRecord(b)
	count := f.Uint32()
	return count, closeRecord(&f, "deliveries")
}
