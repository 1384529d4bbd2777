package meta

import (
	"errors"
	"fmt"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// commandVersion is the version of commands that this program writes. A replica that meets a newer one stops: to
// leave it out would make it another than the others.
const commandVersion = 1

// maxOps bounds the operations of one command, so that ids have a place for each.
const maxOps = maxPlaces

var (
	errCommand = errors.New("command makes no sense")
	errNewer   = errors.New("command is of a newer version")
)

// opKind says which operation follows. Numbers are part of the format and are never used again for something else.
type opKind uint8

const (
	kindSeed       opKind = 1
	kindPolicy     opKind = 2
	kindFeature    opKind = 3
	kindRegister   opKind = 8
	kindLost       opKind = 9
	kindForget     opKind = 10
	kindIsolated   opKind = 11
	kindCreate     opKind = 16
	kindCapture    opKind = 17
	kindActivate   opKind = 18
	kindAttach     opKind = 19
	kindLeave      opKind = 20
	kindLimits     opKind = 21
	kindLimitsKept opKind = 22
	kindExpire     opKind = 23
	kindRemove     opKind = 24
	kindUncapture  opKind = 25
	kindDelete     opKind = 26
	kindHeard      opKind = 27
)

// op is one operation of a command. Apply checks whether it still fits; one that does not is left out, on every replica
// alike, and its outcome says so.
type op interface {
	kind() opKind
	append(b []byte) []byte
	read(f *storage.Fields)
	apply(a *application) Outcome
}

type (
	// seed is the first of all: policy and slots of a new cluster.
	seed struct {
		policy  []byte // peer.Policy as JSON
		slots   Slots
		feature uint32
	}
	setPolicy  struct{ policy []byte }
	setFeature struct{ level uint32 }

	register struct{ holder Holder }
	lost     struct{ holder Holder }
	forget   struct{ holder Holder }
	isolated struct {
		holder Holder
		period uint64
		counts []peer.IsolatedAddress
		other  uint64
	}

	create struct {
		identity peer.Identity
		address  string
		terminus peer.Terminus
		asked    peer.Limits
		named    peer.Limits
		limits   peer.Limits
		by       string
		replaces uint64
	}
	// capture counts a subscription, whose cursor has these limits by now, in the capture of its address.
	capture  struct{ id, limitsKept uint64 }
	activate struct{ id uint64 }
	attach   struct {
		id       uint64
		holder   Holder
		terminus peer.Terminus
	}
	leave struct {
		id, gen uint64
		event   Event
	}
	setLimits struct {
		id                   uint64
		asked, named, limits peer.Limits
	}
	limitsKept struct{ id, version uint64 }
	// expire removes a subscription that is past its time by this entry's clock.
	expire struct{ id uint64 }
	remove struct {
		id     uint64
		gen    uint64 // 0: any
		reason string
	}
	uncapture struct{ id uint64 }
	deleteSub struct{ id uint64 }
	// heard says what a subscriber knows of what it has missed.
	heard struct {
		id     uint64
		missed peer.Missed
	}
)

func newOp(k opKind) op {
	switch k {
	case kindSeed:
		return new(seed)
	case kindPolicy:
		return new(setPolicy)
	case kindFeature:
		return new(setFeature)
	case kindRegister:
		return new(register)
	case kindLost:
		return new(lost)
	case kindForget:
		return new(forget)
	case kindIsolated:
		return new(isolated)
	case kindCreate:
		return new(create)
	case kindCapture:
		return new(capture)
	case kindActivate:
		return new(activate)
	case kindAttach:
		return new(attach)
	case kindLeave:
		return new(leave)
	case kindLimits:
		return new(setLimits)
	case kindLimitsKept:
		return new(limitsKept)
	case kindExpire:
		return new(expire)
	case kindRemove:
		return new(remove)
	case kindUncapture:
		return new(uncapture)
	case kindDelete:
		return new(deleteSub)
	case kindHeard:
		return new(heard)
	}
	return nil
}

// beginCommand appends what a command begins with. Operations follow.
func beginCommand(b []byte) []byte { return append(b, commandVersion) }

// appendOp appends an operation: its kind and its fields, with their length, so that an operation may grow.
func appendOp(b []byte, o op) []byte {
	b = append(b, byte(o.kind()))
	return storage.AppendText(b, o.append(nil))
}

// parseCommand reads all operations. errNewer means that this program cannot know what the command says, errCommand that
// nobody can.
func parseCommand(b []byte) ([]op, error) {
	f := storage.ReadFields(b)
	if v := f.Byte(); f.Err() == nil && v != commandVersion {
		return nil, fmt.Errorf("%w: %d, known is %d", errNewer, v, commandVersion)
	}
	var ops []op
	for f.Err() == nil && f.Len() > 0 {
		k := opKind(f.Byte())
		fields := storage.ReadFields(f.Bytes())
		if f.Err() != nil {
			break
		}
		o := newOp(k)
		if o == nil {
			return nil, fmt.Errorf("%w: operation %d", errNewer, k)
		}
		if o.read(&fields); fields.Done() != nil {
			return nil, fmt.Errorf("%w: operation %d: %w", errCommand, k, fields.Err())
		}
		if ops = append(ops, o); len(ops) > maxOps {
			return nil, fmt.Errorf("%w: it has more than %d operations", errCommand, maxOps)
		}
	}
	if err := f.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errCommand, err)
	}
	return ops, nil
}
