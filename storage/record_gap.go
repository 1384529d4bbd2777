package storage

import "encoding/binary"

// GapRecord is what a cursor gave up and its subscriber was not heard of, in pieces from old to new.
type GapRecord struct {
	Pieces []GapPiece
}

// GapPiece is what the entries from First through Version added. It has Messages of the positions between From and
// Through, not all of them if pieces have been put together.
type GapPiece struct {
	First    uint64
	Version  uint64
	Topic    uint64
	From     uint64
	Through  uint64
	After    uint64 // the topic's messages up to Through
	Messages uint64
	Bytes    uint64
	Causes   [Causes]uint64 // messages; their sum is Messages
}

// Append appends the record.
func (g *GapRecord) Append(b []byte) []byte {
	b = appendRecord(b)
	b = binary.AppendUvarint(b, uint64(len(g.Pieces)))
	for i := range g.Pieces {
		b = g.Pieces[i].append(b)
	}
	return b
}

func (p *GapPiece) append(b []byte) []byte {
	for _, v := range [...]uint64{p.First, p.Version, p.Topic, p.From, p.Through, p.After, p.Messages, p.Bytes} {
		b = binary.AppendUvarint(b, v)
	}
	n := 0
	for _, v := range p.Causes {
		if v != 0 {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for cause, v := range p.Causes {
		if v != 0 {
			b = append(b, byte(cause))
			b = binary.AppendUvarint(b, v)
		}
	}
	return b
}

// Decode reads the record, reusing the memory of g.
func (g *GapRecord) Decode(b []byte) error {
	f := openRecord(b)
	g.Pieces = g.Pieces[:0]
	for range f.Count(9) {
		p := GapPiece{First: f.Uint(), Version: f.Uint(), Topic: f.Uint(), From: f.Uint(), Through: f.Uint(),
			After: f.Uint(), Messages: f.Uint(), Bytes: f.Uint()}
		for range f.Count(2) {
			cause := f.cause()
			p.Causes[cause] = f.Uint()
		}
		g.Pieces = append(g.Pieces, p)
	}
	return closeRecord(&f, "gap")
}
