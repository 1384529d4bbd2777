package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/posthouse/posthouse/storage"
)

// A transfer is a conversation on a stream of its own; each message is kind u8, length u32, body:
//
//	sender   -> offer    term u64, index u64 (of the snapshot it is for), storage's export header
//	receiver -> want     chunk number u64
//	sender   -> chunk    as storage made it; it checks itself
//	receiver -> staged   all of it is on disk here (or was not needed)
//	receiver -> refused  text
//
// The receiver asks for the chunk that it is missing, so that a transfer broken off goes on where it was.

type messageKind uint8

const (
	messageOffer messageKind = iota + 1
	messageWant
	messageChunk
	messageStaged
	messageRefused
)

const (
	messageMax = 64 << 10
	chunkMax   = 64 << 20 // a chunk is about 1 MiB, or one value
)

var errTransferMessage = errors.New("not a message of a transfer")

// transferStream gives up when nothing moves for the idle time.
type transferStream struct {
	conn net.Conn
	idle time.Duration
}

func (t *transferStream) send(k messageKind, body []byte) error {
	if err := t.conn.SetDeadline(time.Now().Add(t.idle)); err != nil {
		return err
	}
	b := make([]byte, 0, 5+len(body))
	b = append(b, byte(k))
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	if _, err := t.conn.Write(append(b, body...)); err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	return nil
}

func (t *transferStream) receive(limit uint32) (messageKind, []byte, error) {
	if err := t.conn.SetDeadline(time.Now().Add(t.idle)); err != nil {
		return 0, nil, err
	}
	var head [5]byte
	if _, err := io.ReadFull(t.conn, head[:]); err != nil {
		return 0, nil, fmt.Errorf("transfer: %w", err)
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > limit {
		return 0, nil, fmt.Errorf("%w: %d bytes", errTransferMessage, size)
	}
	// Not by the claimed length: a chunk comes in steps, each within the idle time.
	var body []byte
	for len(body) < int(size) {
		step := min(int(size)-len(body), 256<<10)
		at := len(body)
		body = append(body, make([]byte, step)...)
		if err := t.conn.SetDeadline(time.Now().Add(t.idle)); err != nil {
			return 0, nil, err
		}
		if _, err := io.ReadFull(t.conn, body[at:]); err != nil {
			return 0, nil, fmt.Errorf("transfer: %w", err)
		}
	}
	return messageKind(head[0]), body, nil
}

type offer struct {
	Term   uint64
	Index  uint64
	Header storage.Header
}

func (o offer) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, o.Term)
	b = binary.BigEndian.AppendUint64(b, o.Index)
	return o.Header.Append(b)
}

func parseOffer(b []byte) (offer, error) {
	if len(b) < 16 {
		return offer{}, fmt.Errorf("%w: offer of %d bytes", errTransferMessage, len(b))
	}
	h, err := storage.ParseHeader(b[16:])
	if err != nil {
		return offer{}, err
	}
	return offer{Term: binary.BigEndian.Uint64(b), Index: binary.BigEndian.Uint64(b[8:]), Header: h}, nil
}

func appendWant(b []byte, chunk uint64) []byte { return binary.BigEndian.AppendUint64(b, chunk) }

func parseWant(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: want of %d bytes", errTransferMessage, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}
