package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// The keys and records that storage itself writes. Every key begins with its group, big-endian, so that a
// group is one span; every record begins with a version.
//
//	log database:    group 4 | logHard                    life, term, vote
//	                 group 4 | logTail                    last index, its term, bytes up to it
//	                 group 4 | logHead                    first index, bytes before it
//	                 group 4 | logEntry | index 8         entry
//	state database:  group 4 | stateMeta | name           applied index, snapshot record, restored mark
//	                 group 4 | stateUser | key            the user's keys
const (
	logHard  = 0x01
	logTail  = 0x02
	logHead  = 0x03
	logEntry = 0x10

	stateMeta = 0x00
	stateUser = 0x01
	stateEnd  = 0x02

	metaApplied  = 'a'
	metaRecord   = 'r'
	metaRestored = 'x'

	layoutVersion = 1

	groupLen  = 4
	prefixLen = groupLen + 1 // of a state key
)

var errRecord = errors.New("record cannot be decoded")

func logKey(group uint32, kind byte) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, groupLen+1), group), kind)
}

func entryKey(b []byte, group uint32, index uint64) []byte {
	b = binary.BigEndian.AppendUint32(b[:0], group)
	b = append(b, logEntry)
	return binary.BigEndian.AppendUint64(b, index)
}

// entriesEnd is above all entries of the group.
func entriesEnd(group uint32) []byte { return logKey(group, logEntry+1) }

const entryKeyLen = groupLen + 1 + 8

func putPrefix(dst []byte, group uint32, kind byte) {
	binary.BigEndian.PutUint32(dst, group)
	dst[groupLen] = kind
}

func stateKey(group uint32, kind byte, key []byte) []byte {
	b := make([]byte, 0, prefixLen+len(key))
	b = binary.BigEndian.AppendUint32(b, group)
	b = append(b, kind)
	return append(b, key...)
}

func metaKey(group uint32, name byte) []byte { return stateKey(group, stateMeta, []byte{name}) }

// stateSpan is everything of a group in the state database.
func stateSpan(group uint32) (lower, upper []byte) {
	return stateKey(group, stateMeta, nil), stateKey(group, stateEnd, nil)
}

// storedEntry is an entry as it is kept: cum counts the bytes of the log from its beginning up to and with
// this entry, so that the size of any run is one subtraction.
type storedEntry struct {
	Entry
	cum uint64
}

const entryHeaderLen = 1 + 1 + 8 + 8 + 8 + 4

// entrySize is what an entry counts in Log.Bytes.
func entrySize(e *Entry) uint64 {
	return uint64(entryKeyLen + entryHeaderLen + len(e.Extensions) + len(e.Data))
}

func putEntry(b []byte, e *Entry, cum uint64) {
	b[0] = layoutVersion
	b[1] = e.Type
	binary.BigEndian.PutUint64(b[2:], e.Term)
	at := int64(math.MinInt64)
	if !e.AppendedAt.IsZero() {
		at = e.AppendedAt.UnixNano()
	}
	binary.BigEndian.PutUint64(b[10:], uint64(at))
	binary.BigEndian.PutUint64(b[18:], cum)
	binary.BigEndian.PutUint32(b[26:], uint32(len(e.Extensions)))
	n := copy(b[entryHeaderLen:], e.Extensions)
	copy(b[entryHeaderLen+n:], e.Data)
}

// parseEntryHeader decodes all but the bytes of an entry.
func parseEntryHeader(key, b []byte) (e storedEntry, extensions int, err error) {
	if len(key) != entryKeyLen || len(b) < entryHeaderLen {
		return e, 0, errRecord
	}
	if b[0] != layoutVersion {
		return e, 0, fmt.Errorf("entry has version %d: %w", b[0], errRecord)
	}
	e.Index = binary.BigEndian.Uint64(key[groupLen+1:])
	e.Type = b[1]
	e.Term = binary.BigEndian.Uint64(b[2:])
	if at := int64(binary.BigEndian.Uint64(b[10:])); at != math.MinInt64 {
		e.AppendedAt = time.Unix(0, at)
	}
	e.cum = binary.BigEndian.Uint64(b[18:])
	extensions = int(binary.BigEndian.Uint32(b[26:]))
	if extensions < 0 || extensions > len(b)-entryHeaderLen {
		return e, 0, errRecord
	}
	return e, extensions, nil
}

// parseEntry decodes an entry; its bytes are copied.
func parseEntry(key, b []byte) (storedEntry, error) {
	e, n, err := parseEntryHeader(key, b)
	if err != nil {
		return e, err
	}
	rest := append([]byte(nil), b[entryHeaderLen:]...)
	if n > 0 {
		e.Extensions = rest[:n:n]
	}
	if len(rest) > n {
		e.Data = rest[n:]
	}
	return e, nil
}

// parseEntryCount decodes what is in front of an entry's bytes.
func parseEntryCount(key, b []byte) (storedEntry, error) {
	e, _, err := parseEntryHeader(key, b)
	return e, err
}

// fixed is a record of a version and some numbers.
func fixed(numbers ...uint64) []byte {
	b := make([]byte, 1, 1+8*len(numbers))
	b[0] = layoutVersion
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

func parseFixed(b []byte, numbers ...*uint64) error {
	if len(b) != 1+8*len(numbers) || b[0] != layoutVersion {
		return errRecord
	}
	for i, n := range numbers {
		*n = binary.BigEndian.Uint64(b[1+8*i:])
	}
	return nil
}

// hardState is what a group must never forget: that it voted, in which term, and which life it is in.
type hardState struct {
	life      uint64
	term      uint64
	voteTerm  uint64
	voted     bool
	candidate string
}

func (h hardState) encode() []byte {
	b := fixed(h.life, h.term, h.voteTerm)
	if h.voted {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return append(b, h.candidate...)
}

func parseHardState(b []byte) (h hardState, err error) {
	const n = 1 + 3*8
	if len(b) < n+1 {
		return h, errRecord
	}
	err = parseFixed(b[:n], &h.life, &h.term, &h.voteTerm)
	h.voted = b[n] == 1
	h.candidate = string(b[n+1:])
	return h, err
}

func (r SnapshotRecord) encode() []byte {
	return append(fixed(r.Index, r.Term, uint64(r.Version)), r.Configuration...)
}

func parseSnapshotRecord(b []byte) (r SnapshotRecord, err error) {
	const n = 1 + 3*8
	if len(b) < n {
		return r, errRecord
	}
	var version uint64
	err = parseFixed(b[:n], &r.Index, &r.Term, &version)
	r.Version = uint32(version)
	r.Configuration = append([]byte(nil), b[n:]...)
	return r, err
}

func (r Restored) encode() []byte { return append(fixed(r.Index), r.ID[:]...) }

func parseRestored(b []byte) (r Restored, err error) {
	if len(b) != 1+8+len(r.ID) {
		return r, errRecord
	}
	err = parseFixed(b[:9], &r.Index)
	copy(r.ID[:], b[9:])
	return r, err
}
