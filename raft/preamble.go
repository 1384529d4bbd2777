package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A connection begins with a preamble of the dialler and an answer, both sent before anything else, so that one
// listener serves all groups and that no byte reaches a group, or a replica, that it is not meant for:
//
//	preamble: magic "PHRF", version u8, kind u8, group u32, length u16, then within length: cluster, formation,
//	          from, to, opening, each as length u16 and bytes
//	answer:   verdict u8, length u16, text (if OK: the opening of the one who answers)
//
// Numbers are big endian. `to` names the very replica that is meant: hashicorp/raft does not check whom an RPC reaches,
// and an emptied directory under an old address would else acknowledge and vote in its predecessor's name. The openings tell
// a directory from an older copy of it.

const (
	preambleMagic   = "PHRF"
	preambleVersion = 1
	preambleMax     = 2048
)

type kind uint8

const (
	kindRaft     kind = 1 // hashicorp/raft's own RPCs, of one group
	kindControl  kind = 2 // who we are, our clock, our progress
	kindTransfer kind = 3 // a shard's state, for a replica that is too far behind
)

func (k kind) String() string {
	switch k {
	case kindRaft:
		return "raft"
	case kindControl:
		return "control"
	case kindTransfer:
		return "transfer"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

type preamble struct {
	Kind      kind
	Group     uint32
	Cluster   string
	Formation string // which forming of the cluster; empty on control streams
	From, To  string // server ids; on control streams name/directory and node name
	Opening   opening
}

var errPreamble = errors.New("not a preamble of this protocol")

func (p preamble) append(b []byte) []byte {
	b = append(b, preambleMagic...)
	b = append(b, preambleVersion, byte(p.Kind))
	b = binary.BigEndian.AppendUint32(b, p.Group)
	at := len(b)
	b = append(b, 0, 0)
	for _, s := range []string{p.Cluster, p.Formation, p.From, p.To, p.Opening.String()} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	return b
}

// readPreamble reads exactly one preamble and nothing behind it.
func readPreamble(r io.Reader) (preamble, error) {
	var head [12]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return preamble{}, fmt.Errorf("read preamble: %w", err)
	}
	if string(head[:4]) != preambleMagic {
		return preamble{}, errPreamble
	}
	if head[4] != preambleVersion {
		return preamble{}, fmt.Errorf("%w: version %d, this node speaks %d", errPreamble, head[4], preambleVersion)
	}
	p := preamble{Kind: kind(head[5]), Group: binary.BigEndian.Uint32(head[6:])}
	n := int(binary.BigEndian.Uint16(head[10:]))
	if n > preambleMax {
		return preamble{}, fmt.Errorf("%w: %d bytes", errPreamble, n)
	}
	rest := make([]byte, n)
	if _, err := io.ReadFull(r, rest); err != nil {
		return preamble{}, fmt.Errorf("read preamble: %w", err)
	}
	var open string
	for _, s := range []*string{&p.Cluster, &p.Formation, &p.From, &p.To, &open} {
		if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
			return preamble{}, fmt.Errorf("%w: cut short", errPreamble)
		}
		end := 2 + int(binary.BigEndian.Uint16(rest))
		*s, rest = string(rest[2:end]), rest[end:]
	}
	var err error
	p.Opening, err = parseOpening(open)
	return p, err
}

// verdict is what the accepting side says to a preamble.
type verdict uint8

const (
	verdictOK           verdict = 0
	verdictCluster      verdict = 1 // another cluster, or another forming of it
	verdictNoGroup      verdict = 2 // the group is not open here (yet, or any more)
	verdictWrongReplica verdict = 3 // the replica meant is not the one at this address
	verdictCut          verdict = 4 // the group's disk hangs, or it is being opened again
	verdictRefused      verdict = 5 // everything else; see the text
)

type answer struct {
	Verdict verdict
	Text    string
}

// refusal is an answer other than OK, as the dialler's error.
type refusal struct{ answer }

func (r *refusal) Error() string { return "refused by peer: " + r.Text }

func (a answer) append(b []byte) []byte {
	text := a.Text
	if len(text) > 512 {
		text = text[:512]
	}
	b = append(b, byte(a.Verdict))
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

// readAnswer reads exactly one answer and returns its text. Any but OK is a *refusal.
func readAnswer(r io.Reader) (string, error) {
	var head [3]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	n := int(binary.BigEndian.Uint16(head[1:]))
	if n > preambleMax {
		return "", fmt.Errorf("%w: answer of %d bytes", errPreamble, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	if head[0] != byte(verdictOK) {
		return "", &refusal{answer{verdict(head[0]), string(text)}}
	}
	return string(text), nil
}

// opening is one opening of a data directory: its epoch, raised and synced each time, and a random name of the process.
type opening struct {
	Epoch uint64
	Boot  string
}

func (o opening) String() string { return strconv.FormatUint(o.Epoch, 10) + "/" + o.Boot }

func parseOpening(s string) (opening, error) {
	epoch, boot, ok := strings.Cut(s, "/")
	e, err := strconv.ParseUint(epoch, 10, 64)
	if !ok || err != nil {
		return opening{}, fmt.Errorf("%w: opening %q", errPreamble, s)
	}
	return opening{e, boot}, nil
}
