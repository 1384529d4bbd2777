package meta

import (
	"bytes"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/peer"
)

func (*seed) kind() opKind       { return kindSeed }
func (*setPolicy) kind() opKind  { return kindPolicy }
func (*setFeature) kind() opKind { return kindFeature }
func (*register) kind() opKind   { return kindRegister }
func (*lost) kind() opKind       { return kindLost }
func (*forget) kind() opKind     { return kindForget }
func (*isolated) kind() opKind   { return kindIsolated }
func (*create) kind() opKind     { return kindCreate }
func (*capture) kind() opKind    { return kindCapture }
func (*activate) kind() opKind   { return kindActivate }
func (*attach) kind() opKind     { return kindAttach }
func (*leave) kind() opKind      { return kindLeave }
func (*setLimits) kind() opKind  { return kindLimits }
func (*limitsKept) kind() opKind { return kindLimitsKept }
func (*expire) kind() opKind     { return kindExpire }
func (*remove) kind() opKind     { return kindRemove }
func (*uncapture) kind() opKind  { return kindUncapture }
func (*deleteSub) kind() opKind  { return kindDelete }
func (*heard) kind() opKind      { return kindHeard }

func (o *seed) append(b []byte) []byte {
	b = storage.AppendText(b, o.policy)
	b = appendUint(b, uint64(o.feature))
	return o.slots.append(b)
}

func (o *seed) read(f *storage.Fields) {
	o.policy = bytes.Clone(f.Bytes())
	o.feature = f.Uint32()
	slots, err := parseSlots(f.Rest())
	if err != nil {
		f.Fail(err)
	}
	o.slots = slots
}

func (o *setPolicy) append(b []byte) []byte { return append(b, o.policy...) }
func (o *setPolicy) read(f *storage.Fields) { o.policy = bytes.Clone(f.Rest()) }

func (o *setFeature) append(b []byte) []byte { return appendUint(b, uint64(o.level)) }
func (o *setFeature) read(f *storage.Fields) { o.level = f.Uint32() }

func (o *register) append(b []byte) []byte { return appendHolder(b, o.holder) }
func (o *register) read(f *storage.Fields) { o.holder = readHolder(f) }
func (o *lost) append(b []byte) []byte     { return appendHolder(b, o.holder) }
func (o *lost) read(f *storage.Fields)     { o.holder = readHolder(f) }
func (o *forget) append(b []byte) []byte   { return appendHolder(b, o.holder) }
func (o *forget) read(f *storage.Fields)   { o.holder = readHolder(f) }

func (o *isolated) append(b []byte) []byte {
	b = appendHolder(b, o.holder)
	b = appendUint(b, o.period)
	b = appendUint(b, o.other)
	b = appendUint(b, uint64(len(o.counts)))
	for _, c := range o.counts {
		b = appendUint(storage.AppendText(b, c.Address), c.Messages)
	}
	return b
}

func (o *isolated) read(f *storage.Fields) {
	o.holder, o.period, o.other = readHolder(f), f.Uint(), f.Uint()
	for n := f.Count(2); n > 0 && f.Err() == nil; n-- {
		o.counts = append(o.counts, peer.IsolatedAddress{Address: f.Text(), Messages: f.Uint()})
	}
}

func (o *create) append(b []byte) []byte {
	b = appendIdentity(b, o.identity)
	b = storage.AppendText(b, o.address)
	b = appendTerminus(b, o.terminus)
	b = appendLimits(b, o.asked)
	b = appendLimits(b, o.named)
	b = appendLimits(b, o.limits)
	b = storage.AppendText(b, o.by)
	return appendUint(b, o.replaces)
}

func (o *create) read(f *storage.Fields) {
	o.identity, o.address, o.terminus = readIdentity(f), f.Text(), readTerminus(f)
	o.asked, o.named, o.limits = readLimits(f), readLimits(f), readLimits(f)
	o.by, o.replaces = f.Text(), f.Uint()
}

func (o *capture) append(b []byte) []byte { return appendUint(appendUint(b, o.id), o.limitsKept) }
func (o *capture) read(f *storage.Fields) { o.id, o.limitsKept = f.Uint(), f.Uint() }

func (o *activate) append(b []byte) []byte { return appendUint(b, o.id) }
func (o *activate) read(f *storage.Fields) { o.id = f.Uint() }

func (o *attach) append(b []byte) []byte {
	return appendTerminus(appendHolder(appendUint(b, o.id), o.holder), o.terminus)
}

func (o *attach) read(f *storage.Fields) {
	o.id, o.holder, o.terminus = f.Uint(), readHolder(f), readTerminus(f)
}

func (o *leave) append(b []byte) []byte {
	return append(appendUint(appendUint(b, o.id), o.gen), byte(o.event))
}
func (o *leave) read(f *storage.Fields) { o.id, o.gen, o.event = f.Uint(), f.Uint(), Event(f.Byte()) }

func (o *setLimits) append(b []byte) []byte {
	b = appendLimits(appendUint(b, o.id), o.asked)
	return appendLimits(appendLimits(b, o.named), o.limits)
}

func (o *setLimits) read(f *storage.Fields) {
	o.id, o.asked, o.named, o.limits = f.Uint(), readLimits(f), readLimits(f), readLimits(f)
}

func (o *limitsKept) append(b []byte) []byte { return appendUint(appendUint(b, o.id), o.version) }
func (o *limitsKept) read(f *storage.Fields) { o.id, o.version = f.Uint(), f.Uint() }

func (o *expire) append(b []byte) []byte { return appendUint(b, o.id) }
func (o *expire) read(f *storage.Fields) { o.id = f.Uint() }

func (o *remove) append(b []byte) []byte {
	return storage.AppendText(appendUint(appendUint(b, o.id), o.gen), o.reason)
}

func (o *remove) read(f *storage.Fields) { o.id, o.gen, o.reason = f.Uint(), f.Uint(), f.Text() }

func (o *uncapture) append(b []byte) []byte { return appendUint(b, o.id) }
func (o *uncapture) read(f *storage.Fields) { o.id = f.Uint() }
func (o *deleteSub) append(b []byte) []byte { return appendUint(b, o.id) }
func (o *deleteSub) read(f *storage.Fields) { o.id = f.Uint() }

func (o *heard) append(b []byte) []byte {
	return appendUint(appendUint(appendUint(b, o.id), o.missed.AtMost), o.missed.Unknown)
}
func (o *heard) read(f *storage.Fields) {
	o.id, o.missed = f.Uint(), peer.Missed{AtMost: f.Uint(), Unknown: f.Uint()}
}
