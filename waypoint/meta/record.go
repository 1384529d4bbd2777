package meta

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// Each record begins with its version and a set of features: a bit that is not known means that the record says something
// that this program would lose.
const recordVersion = 1

// featureHeard of a subscription: Heard follows its gaps.
const featureHeard = 1

var (
	errVersion = errors.New("written by a newer version")
	errState   = errors.New("there is no such state")
)

func appendVersion(b []byte) []byte { return append(b, recordVersion, 0) }

func openRecord(b []byte) storage.Fields {
	f, _ := openFeatures(b, 0)
	return f
}

// openFeatures is openRecord of a record that may have some features.
func openFeatures(b []byte, known uint64) (f storage.Fields, features uint64) {
	f = storage.ReadFields(b)
	if v := f.Byte(); f.Err() == nil && v != recordVersion {
		f.Fail(fmt.Errorf("%w (%d, known is %d)", errVersion, v, recordVersion))
	}
	if features = f.Uint(); features&^known != 0 {
		f.Fail(fmt.Errorf("%w (features %#x)", errVersion, features))
	}
	return f, features
}

func appendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }
func appendInt(b []byte, v int64) []byte   { return binary.AppendVarint(b, v) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendIdentity(b []byte, i peer.Identity) []byte {
	b = storage.AppendText(b, i.Owner)
	b = storage.AppendText(b, i.Name)
	b = storage.AppendText(b, i.ContainerID)
	return storage.AppendText(b, i.LinkName)
}

func readIdentity(f *storage.Fields) peer.Identity {
	return peer.Identity{Owner: f.Text(), Name: f.Text(), ContainerID: f.Text(), LinkName: f.Text()}
}

func appendLimits(b []byte, l peer.Limits) []byte {
	b = appendUint(b, l.MaxMessages)
	b = appendUint(b, l.MaxBytes)
	b = appendUint(b, l.MaxAgeMS)
	b = appendUint(b, l.MaxInFlight)
	return append(b, byte(l.Overflow))
}

func readLimits(f *storage.Fields) peer.Limits {
	return peer.Limits{MaxMessages: f.Uint(), MaxBytes: f.Uint(), MaxAgeMS: f.Uint(), MaxInFlight: f.Uint(), Overflow: peer.Overflow(f.Byte())}
}

func appendTerminus(b []byte, t peer.Terminus) []byte {
	b = appendUint(b, uint64(t.Durable))
	b = storage.AppendText(b, t.ExpiryPolicy)
	b = appendUint(b, uint64(t.Timeout))
	b = appendUint(b, uint64(len(t.Capabilities)))
	for _, c := range t.Capabilities {
		b = storage.AppendText(b, c)
	}
	return b
}

func readTerminus(f *storage.Fields) peer.Terminus {
	t := peer.Terminus{Durable: f.Uint32(), ExpiryPolicy: f.Text(), Timeout: f.Uint32()}
	for n := f.Count(1); n > 0 && f.Err() == nil; n-- {
		t.Capabilities = append(t.Capabilities, f.Text())
	}
	return t
}

func appendHolder(b []byte, h Holder) []byte {
	return appendUint(storage.AppendText(b, h.Router), h.Boot)
}

func readHolder(f *storage.Fields) Holder { return Holder{Router: f.Text(), Boot: f.Uint()} }

func (s *Subscription) append(b []byte) []byte {
	heard := s.Heard != peer.Missed{}
	b = appendBool(append(b, recordVersion), heard) // featureHeard
	b = appendUint(b, s.ID)
	b = appendIdentity(b, s.Identity)
	b = storage.AppendText(b, s.Address)
	b = appendTerminus(b, s.Terminus)
	b = appendLimits(b, s.Asked)
	b = appendLimits(b, s.Named)
	b = appendLimits(b, s.Limits)
	b = appendUint(b, s.LimitsVersion)
	b = appendUint(b, s.LimitsKept)
	b = append(b, byte(s.State))
	b = appendBool(b, s.Captured)
	b = appendUint(b, s.Epoch)
	b = appendUint(b, s.Activated)
	b = appendUint(b, s.Gen)
	b = appendHolder(b, s.Holder)
	b = appendInt(b, s.Left)
	b = append(b, byte(s.LeftBy))
	b = appendInt(b, s.Created)
	b = storage.AppendText(b, s.CreatedBy)
	b = appendUint(b, s.Replaces)
	b = storage.AppendText(b, s.Reason)
	b = appendUint(b, uint64(len(s.Gaps)))
	for _, g := range s.Gaps {
		b = appendHolder(b, g.Holder)
		b = appendBool(b, g.Known)
		b = appendUint(b, g.AtMost)
	}
	if heard {
		b = appendUint(appendUint(b, s.Heard.AtMost), s.Heard.Unknown)
	}
	return b
}

func parseSubscription(b []byte) (*Subscription, error) {
	f, features := openFeatures(b, featureHeard)
	s := &Subscription{ID: f.Uint(), Identity: readIdentity(&f), Address: f.Text(), Terminus: readTerminus(&f)}
	s.Asked, s.Named, s.Limits = readLimits(&f), readLimits(&f), readLimits(&f)
	s.LimitsVersion, s.LimitsKept = f.Uint(), f.Uint()
	if s.State = State(f.Byte()); f.Err() == nil && (s.State < Creating || s.State > Removing) {
		f.Fail(errState)
	}
	s.Captured, s.Epoch, s.Activated = f.Byte() != 0, f.Uint(), f.Uint()
	s.Gen, s.Holder = f.Uint(), readHolder(&f)
	s.Left, s.LeftBy = f.Int(), Event(f.Byte())
	s.Created, s.CreatedBy, s.Replaces, s.Reason = f.Int(), f.Text(), f.Uint(), f.Text()
	for n := f.Count(4); n > 0 && f.Err() == nil; n-- {
		s.Gaps = append(s.Gaps, IsolatedGap{Holder: readHolder(&f), Known: f.Byte() != 0, AtMost: f.Uint()})
	}
	if features&featureHeard != 0 {
		s.Heard = peer.Missed{AtMost: f.Uint(), Unknown: f.Uint()}
	}
	return s, f.Done()
}

func (r *Router) append(b []byte) []byte {
	b = appendVersion(b)
	b = appendUint(b, r.Registered)
	b = appendUint(b, r.Lost)
	b = appendInt(b, r.Seen)
	b = appendUint(b, r.Periods)
	return appendUint(b, r.Messages)
}

func parseRouter(name string, boot uint64, b []byte) (*Router, error) {
	f := openRecord(b)
	r := &Router{Name: name, Boot: boot, Registered: f.Uint(), Lost: f.Uint(), Seen: f.Int(), Periods: f.Uint(), Messages: f.Uint()}
	return r, f.Done()
}

func (c *Capture) append(b []byte) []byte {
	b = appendVersion(b)
	b = appendUint(b, c.Count)
	return appendUint(b, c.Appeared)
}

func parseCapture(address string, b []byte) (*Capture, error) {
	f := openRecord(b)
	c := &Capture{Address: address, Count: f.Uint(), Appeared: f.Uint()}
	return c, f.Done()
}

// header is what there is one of.
type header struct {
	seeded   bool
	feature  uint32 // the cluster's feature level
	epoch    uint64 // index of the last entry that changed captures or policy
	isolated uint64 // messages that routers have reported to have let through while they were cut off, ever
	reports  uint64 // how many such reports there were
}

func (h *header) append(b []byte) []byte {
	b = appendVersion(b)
	b = appendBool(b, h.seeded)
	b = appendUint(b, uint64(h.feature))
	b = appendUint(b, h.epoch)
	b = appendUint(b, h.isolated)
	return appendUint(b, h.reports)
}

func parseHeader(b []byte) (header, error) {
	f := openRecord(b)
	h := header{seeded: f.Byte() != 0, feature: f.Uint32(), epoch: f.Uint(), isolated: f.Uint(), reports: f.Uint()}
	return h, f.Done()
}

// Slots says which shard has which slot of the addresses.
type Slots [peer.Slots]uint32

func (s *Slots) append(b []byte) []byte {
	b = appendVersion(b)
	for _, shard := range s {
		b = appendUint(b, uint64(shard))
	}
	return b
}

func parseSlots(b []byte) (Slots, error) {
	var s Slots
	f := openRecord(b)
	for i := range s {
		s[i] = f.Uint32()
	}
	return s, f.Done()
}

func appendPolicy(b, policy []byte) []byte { return append(appendVersion(b), policy...) }

func parsePolicy(b []byte) ([]byte, error) {
	f := openRecord(b)
	return append([]byte(nil), f.Rest()...), f.Err()
}
