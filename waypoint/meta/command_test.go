package meta

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/peer"
)

var (
	someIdentity = peer.Identity{Owner: "anna", Name: "n", ContainerID: "c", LinkName: "l"}
	someTerminus = peer.Terminus{Durable: 2, ExpiryPolicy: "never", Timeout: 7, Capabilities: []string{"topic", "x"}}
	someLimits   = peer.Limits{MaxMessages: 1, MaxBytes: peer.Unlimited, MaxAgeMS: 3, MaxInFlight: 4, Overflow: peer.OverflowReject}
	someHolder   = Holder{"router", 1 << 40}
	allOps       = []op{
		&seed{policy: []byte("{}"), slots: Spread(7), feature: 3},
		&setPolicy{policy: []byte("{}")}, &setFeature{9},
		&register{someHolder}, &lost{someHolder}, &forget{someHolder},
		&isolated{holder: someHolder, period: 3, counts: []peer.IsolatedAddress{{Address: "a", Messages: 1}, {Address: "b", Messages: 1 << 50}}, other: 4},
		&heard{1 << 40, peer.Missed{AtMost: 2, Unknown: 3}},
		&create{identity: someIdentity, address: "a/b", terminus: someTerminus, asked: someLimits, named: peer.Limits{}, limits: someLimits, by: "link", replaces: 77},
		&capture{1, 2}, &activate{3}, &attach{id: 4, holder: someHolder, terminus: someTerminus},
		&leave{id: 5, gen: 6, event: SessionEnded}, &setLimits{id: 7, asked: someLimits, limits: someLimits},
		&limitsKept{8, 9}, &expire{10}, &remove{id: 11, gen: 12, reason: "because"}, &uncapture{13}, &deleteSub{14},
	}
)

func encode(ops ...op) []byte {
	b := beginCommand(nil)
	for _, o := range ops {
		b = appendOp(b, o)
	}
	return b
}

func TestCommandsComeBackAsTheyWere(t *testing.T) {
	kinds := map[opKind]bool{}
	for _, o := range allOps {
		kinds[o.kind()] = true
	}
	for k := opKind(0); k < 255; k++ {
		if o := newOp(k); (o != nil) != kinds[k] || (o != nil && o.kind() != k) {
			t.Errorf("operation %d: not in this test, or not what it says", k)
		}
	}
	got, err := parseCommand(encode(allOps...))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, allOps) {
		for i := range got {
			if !reflect.DeepEqual(got[i], allOps[i]) {
				t.Errorf("%T: %+v, want %+v", got[i], got[i], allOps[i])
			}
		}
	}
	for i := range encode(allOps...) {
		if _, err := parseCommand(encode(allOps...)[:i]); err == nil && i > 1 && !endsAnOp(i) {
			t.Errorf("the first %d bytes are taken for a command", i)
		}
	}
}

// endsAnOp says whether the command of all operations may be cut off there.
func endsAnOp(at int) bool {
	for n := range allOps {
		if len(encode(allOps[:n]...)) == at {
			return true
		}
	}
	return false
}

func FuzzCommand(f *testing.F) {
	for _, o := range allOps {
		f.Add(encode(o))
	}
	f.Add(encode(allOps...))
	f.Fuzz(func(t *testing.T, b []byte) {
		ops, err := parseCommand(b)
		if err != nil {
			return
		}
		again, err := parseCommand(encode(ops...))
		if err != nil || !reflect.DeepEqual(ops, again) {
			t.Fatalf("%+v came back as %+v (%v)", ops, again, err)
		}
		// Whatever it says, the state stays sound.
		l := newLog(t)
		l.active("orders", "a")
		l.index++
		l.m.apply(l.state, l.index, l.time, b)
		if err := l.m.Check(); err != nil {
			t.Fatal(err)
		}
		if got, want := dump(t, l.restored()), dump(t, l.m); got != want {
			t.Fatalf("restored:\n%s\nwant:\n%s", got, want)
		}
	})
}

func FuzzRecords(f *testing.F) {
	s := &Subscription{ID: 1, Identity: someIdentity, Address: "a", Terminus: someTerminus, Asked: someLimits, Limits: someLimits, LimitsVersion: 2,
		LimitsKept: 1, State: Active, Captured: true, Epoch: 3, Activated: 4, Gen: 5, Holder: someHolder, Left: -1, LeftBy: RouterLost, Created: 6,
		CreatedBy: "link", Replaces: 7, Reason: "why", Gaps: []IsolatedGap{{someHolder, true, 3}, {Holder{"x", 1}, false, 0}}, Heard: peer.Missed{AtMost: 3, Unknown: 1}}
	r := &Router{Name: "r", Boot: 1, Registered: 2, Lost: 3, Seen: 4, Periods: 5, Messages: 6}
	c := &Capture{Address: "a", Count: 1, Appeared: 2}
	h := header{seeded: true, feature: 1, epoch: 2, isolated: 3, reports: 4}
	slots := Spread(3)
	for i, b := range [][]byte{s.append(nil), r.append(nil), c.append(nil), h.append(nil), slots.append(nil), appendPolicy(nil, []byte("{}"))} {
		f.Add(byte(i), b)
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		again := func(got any, err error, encoded []byte, parse func([]byte) (any, error)) {
			if err != nil {
				return
			}
			back, err := parse(encoded)
			if err != nil || !reflect.DeepEqual(got, back) {
				t.Fatalf("%+v came back as %+v (%v)", got, back, err)
			}
		}
		switch kind % 6 {
		case 0:
			v, err := parseSubscription(b)
			if err == nil {
				again(v, err, v.append(nil), func(b []byte) (any, error) { return parseSubscription(b) })
			}
		case 1:
			v, err := parseRouter("r", 1, b)
			if err == nil {
				again(v, err, v.append(nil), func(b []byte) (any, error) { return parseRouter("r", 1, b) })
			}
		case 2:
			v, err := parseCapture("a", b)
			if err == nil {
				again(v, err, v.append(nil), func(b []byte) (any, error) { return parseCapture("a", b) })
			}
		case 3:
			v, err := parseHeader(b)
			again(v, err, v.append(nil), func(b []byte) (any, error) { return parseHeader(b) })
		case 4:
			v, err := parseSlots(b)
			again(v, err, v.append(nil), func(b []byte) (any, error) { return parseSlots(b) })
		case 5:
			v, err := parsePolicy(b)
			again(v, err, appendPolicy(nil, v), func(b []byte) (any, error) { return parsePolicy(b) })
		}
	})
}

func TestRecordsOfANewerVersionAreRefused(t *testing.T) {
	c := &Capture{Count: 1}
	b := c.append(nil)
	newer := bytes.Clone(b)
	newer[0]++
	if _, err := parseCapture("a", newer); err == nil {
		t.Error("a newer version is taken for this one")
	}
	feature := bytes.Clone(b)
	feature[1] = 1
	if _, err := parseCapture("a", feature); err == nil {
		t.Error("an unknown feature is left out")
	}
	if _, err := parseCapture("a", append(b, 0)); err == nil {
		t.Error("bytes are left over")
	}
	if k, ok := storage.ParseMetaKey(storage.AppendCaptureKey(nil, "a/b")); !ok || k.Text != "a/b" {
		t.Errorf("%+v", k)
	}
}
