package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Every command travels in an envelope (in the entry's Extensions, so that its bytes are not copied once more):
//
//	version u8 = 1, term u64, n u64, time i64 (Unix ms), big endian
//
// It names the term that it was made in, and that it is the n-th command of that term. It fits if the entry has that
// term and it follows command n-1 of it, or is the first one of a newer term. Otherwise it is void, on all replicas
// alike. Without that, a command that Raft refuses during a leadership transfer leaves a hole under the next one, which
// was built upon it, and a command made in one term may land in a later one.

const (
	envelopeVersion = 1
	envelopeLen     = 1 + 3*8
)

type envelope struct {
	term, n uint64
	time    int64
}

var errEnvelope = errors.New("cannot read a command's envelope")

func (e envelope) append(b []byte) []byte {
	b = append(b, envelopeVersion)
	b = binary.BigEndian.AppendUint64(b, e.term)
	b = binary.BigEndian.AppendUint64(b, e.n)
	return binary.BigEndian.AppendUint64(b, uint64(e.time))
}

// parseEnvelope refuses what it does not know. It must not be taken as void: a newer replica would not do so, and they
// would differ from then on.
func parseEnvelope(b []byte) (envelope, error) {
	if len(b) == 0 {
		return envelope{}, fmt.Errorf("%w: it has none", errEnvelope)
	}
	if b[0] != envelopeVersion {
		return envelope{}, fmt.Errorf("%w: version %d, this program knows %d", errEnvelope, b[0], envelopeVersion)
	}
	if len(b) != envelopeLen {
		return envelope{}, fmt.Errorf("%w: %d bytes", errEnvelope, len(b))
	}
	return envelope{
		term: binary.BigEndian.Uint64(b[1:]),
		n:    binary.BigEndian.Uint64(b[9:]),
		time: int64(binary.BigEndian.Uint64(b[17:])),
	}, nil
}

// position is where a group's commands stand: the last one that fitted, and the group's clock. It is replicated state,
// written in the same batch as what the command wrote, under positionKey.
type position struct {
	term, n uint64
	clock   int64
}

// positionKey is the group's one key of this package. State keys that begin with a zero byte are reserved for it.
var positionKey = []byte{0}

// fits says whether a command is the one to be applied next.
func (p position) fits(entryTerm uint64, e envelope) bool {
	if e.term != entryTerm {
		return false
	}
	if e.term == p.term {
		return e.n == p.n+1
	}
	return e.term > p.term && e.n == 1
}

// next is the position behind a command that fits. The clock never runs backwards, whatever the envelope says.
func (p position) next(e envelope) position {
	return position{term: e.term, n: e.n, clock: max(p.clock, e.time)}
}

func (p position) append(b []byte) []byte {
	return envelope{p.term, p.n, p.clock}.append(b) // the same three numbers, the same form
}

func parsePosition(b []byte) (position, error) {
	e, err := parseEnvelope(b)
	if err != nil {
		return position{}, fmt.Errorf("position record: %w", err)
	}
	return position{e.term, e.n, e.time}, nil
}
