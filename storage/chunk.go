package storage

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// A dump of a group's keys travels in chunks that check themselves:
//
//	version 1 | export id 16 | number 8 | flags 1 | chain 8 | count 4
//	count times: key length, key, value length, value (lengths are uvarints)
//	if last: keys 8, bytes 8 of the whole dump
//	checksum 8
//
// chain is a checksum over the checksums of all chunks before this one, so that a chunk can only follow those
// that it was made behind. Keys are without the group's prefix and ascend.
const (
	chunkHeaderLen = 1 + 16 + 8 + 1 + 8 + 4
	chunkTrailer   = 8 + 8
	chunkBytes     = 1 << 20 // size that a chunk is closed at
	chunkLast      = 1 << 0
)

// Header describes an Export: all that an Import must know before the first chunk. It has no secrets and no
// pointers into the sender's files.
type Header struct {
	Version uint32
	ID      [16]byte // random; names the export, so that chunks of two are never mixed
	Index   uint64   // the applied index of every chunk
}

const headerLen = 4 + 16 + 8

// Append encodes h behind b.
func (h Header) Append(b []byte) []byte {
	p := binary.BigEndian.AppendUint32(make([]byte, 0, headerLen+8), h.Version)
	p = append(p, h.ID[:]...)
	p = binary.BigEndian.AppendUint64(p, h.Index)
	return append(b, seal(p)...)
}

// ParseHeader decodes what Append wrote; it refuses other versions and damaged bytes with ErrChunk.
func ParseHeader(b []byte) (h Header, err error) {
	p, err := unseal(b)
	if err != nil || len(p) != headerLen {
		return h, fmt.Errorf("%w: header is damaged", ErrChunk)
	}
	r := reader{b: p}
	h.Version = r.uint32()
	copy(h.ID[:], r.take(len(h.ID)))
	h.Index = r.uint64()
	return h, h.validate()
}

func (h Header) validate() error {
	if h.Version != layoutVersion {
		return fmt.Errorf("%w: export has version %d, this program knows %d", ErrChunk, h.Version, layoutVersion)
	}
	return nil
}

// dumpPosition is where in a dump a chunk begins.
type dumpPosition struct {
	number uint64
	chain  uint64
	keys   uint64 // keys before
	bytes  uint64 // bytes of keys and values before
	key    []byte // where to go on: the first key of the chunk, or the last one before it
}

// after is the position behind a chunk with this checksum.
func (p dumpPosition) after(sum, keys, bytes uint64, key []byte) dumpPosition {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], p.chain)
	binary.BigEndian.PutUint64(b[8:], sum)
	return dumpPosition{
		number: p.number + 1, chain: xxhash.Sum64(b[:]),
		keys: p.keys + keys, bytes: p.bytes + bytes, key: key,
	}
}

// chunkWriter builds one chunk.
type chunkWriter struct {
	b     []byte
	count uint32
	bytes uint64
}

func newChunk(h Header, p dumpPosition) *chunkWriter {
	b := make([]byte, 0, chunkBytes+chunkBytes/8)
	b = append(b, layoutVersion)
	b = append(b, h.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, p.number)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, p.chain)
	b = binary.BigEndian.AppendUint32(b, 0)
	return &chunkWriter{b: b}
}

func (c *chunkWriter) add(key, value []byte) {
	c.b = binary.AppendUvarint(c.b, uint64(len(key)))
	c.b = append(c.b, key...)
	c.b = binary.AppendUvarint(c.b, uint64(len(value)))
	c.b = append(c.b, value...)
	c.count++
	c.bytes += uint64(len(key) + len(value))
}

// finish seals the chunk and says what its checksum is.
func (c *chunkWriter) finish(p dumpPosition, last bool) (chunk []byte, sum uint64) {
	binary.BigEndian.PutUint32(c.b[chunkHeaderLen-4:], c.count)
	if last {
		c.b[1+16+8] = chunkLast
		c.b = binary.BigEndian.AppendUint64(c.b, p.keys+uint64(c.count))
		c.b = binary.BigEndian.AppendUint64(c.b, p.bytes+c.bytes)
	}
	c.b = seal(c.b)
	return c.b, binary.BigEndian.Uint64(c.b[len(c.b)-8:])
}

// chunkReader is a chunk whose checksum and place have been checked.
type chunkReader struct {
	r     reader
	left  uint32
	last  bool
	sum   uint64
	bytes uint64
}

func openChunk(chunk []byte, h Header, p dumpPosition) (*chunkReader, error) {
	b, err := unseal(chunk)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChunk, err)
	}
	c := &chunkReader{r: reader{b: b}, sum: binary.BigEndian.Uint64(chunk[len(chunk)-8:])}
	version := c.r.byte()
	id := c.r.take(len(h.ID))
	number := c.r.uint64()
	c.last = c.r.byte()&chunkLast != 0
	chain := c.r.uint64()
	c.left = c.r.uint32()
	switch {
	case c.r.err != nil || version != layoutVersion:
		return nil, fmt.Errorf("%w: header is damaged", ErrChunk)
	case string(id) != string(h.ID[:]):
		return nil, fmt.Errorf("%w: it is of another export", ErrChunk)
	case number != p.number:
		return nil, fmt.Errorf("%w: number %d, wanted %d", ErrChunk, number, p.number)
	case chain != p.chain:
		return nil, fmt.Errorf("%w: chunk %d does not follow the one before", ErrChunk, number)
	}
	return c, nil
}

// next returns key and value, subslices of the chunk; false at the end or on an error.
func (c *chunkReader) next() (key, value []byte, ok bool) {
	if c.left == 0 || c.r.err != nil {
		return nil, nil, false
	}
	c.left--
	key = c.r.take(int(c.r.uvarint()))
	value = c.r.take(int(c.r.uvarint()))
	c.bytes += uint64(len(key) + len(value))
	return key, value, c.r.err == nil
}

// verify walks over the whole chunk before anything of it is used: its keys ascend, nothing is left over, and
// the totals of a last chunk are those of all chunks. It returns the position behind it.
func (c chunkReader) verify(p dumpPosition) (dumpPosition, error) {
	count, before := uint64(0), p.key
	for key, _, ok := c.next(); ok; key, _, ok = c.next() {
		if p.keys+count > 0 && string(key) <= string(before) {
			return p, fmt.Errorf("%w: keys do not ascend", ErrChunk)
		}
		before = key
		count++
	}
	next := p.after(c.sum, count, c.bytes, append([]byte(nil), before...))
	if c.last {
		if keys, bytes := c.r.uint64(), c.r.uint64(); keys != next.keys || bytes != next.bytes {
			return p, fmt.Errorf("%w: %d keys of %d bytes came, %d of %d were sent", ErrChunk, next.keys, next.bytes, keys, bytes)
		}
	}
	if c.r.err != nil || len(c.r.b) > 0 {
		return p, fmt.Errorf("%w: records are damaged", ErrChunk)
	}
	return next, nil
}
