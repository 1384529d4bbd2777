package storage

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

func TestMarksComeBack(t *testing.T) {
	want := markSet{
		groups: map[uint32]mark{
			0:         {life: 1, index: 2, term: 3, current: 4, applied: 5},
			1<<32 - 1: {index: 1 << 63},
		},
		manifests: map[string]manifestMark{"log": {name: "MANIFEST-000012", size: 345}},
	}
	b, err := want.encode(77)
	must(t, err)
	got, seq, err := decodeMarks(append(b, make([]byte, 100)...))
	if err != nil || seq != 77 || !got.equal(want) {
		t.Fatalf("%+v %d %v", got, seq, err)
	}
	for i := range b {
		bad := append([]byte(nil), b...)
		bad[i] ^= 4
		if _, _, err := decodeMarks(bad); err == nil {
			t.Fatalf("a flip in byte %d is not noticed", i)
		}
		if _, _, err := decodeMarks(b[:i]); err == nil {
			t.Fatalf("cut at %d is not noticed", i)
		}
	}
	many := markSet{groups: make(map[uint32]mark)}
	for g := range uint32(5000) {
		many.groups[g] = mark{}
	}
	if _, err := many.encode(1); err == nil {
		t.Fatal("more groups than fit")
	}
}

func TestMarkOrder(t *testing.T) {
	m := mark{index: 10, term: 5}
	for _, c := range []struct {
		index, term uint64
		short       bool
	}{{10, 5, false}, {11, 5, false}, {9, 5, true}, {3, 6, false}, {99, 4, true}, {0, 0, true}} {
		if m.before(c.index, c.term) != c.short {
			t.Errorf("%+v against %+v: %v", c, m, !c.short)
		}
	}
}

// The two slots are written in turn; whichever of them is damaged, the other one still says something, and the
// newest that is whole counts.
func TestMarksSurviveATornSlot(t *testing.T) {
	mem := vfs.NewCrashableMem()
	must(t, createMarks(mem, ""))
	m, err := openMarks(mem, "")
	must(t, err)
	for i := uint64(1); i <= 4; i++ {
		must(t, m.update(func(markSet) (markSet, error) {
			return markSet{groups: map[uint32]mark{7: {index: i}}}, nil
		}))
	}
	newest := m.seq % 2
	must(t, m.close())
	for slot, want := range map[uint64]uint64{newest: 3, 1 - newest: 4} {
		torn := mem.CrashClone(vfs.CrashCloneCfg{})
		f, err := torn.OpenReadWrite(disk.Marks, vfs.WriteCategoryUnspecified)
		must(t, err)
		_, err = f.WriteAt([]byte{0xff}, int64(slot)*marksSlot+30)
		must(t, err)
		must(t, f.Close())
		again, err := openMarks(torn, "")
		must(t, err)
		if got := again.groups(7).index; got != want {
			t.Errorf("slot %d torn: mark %d, want %d", slot, got, want)
		}
		must(t, again.close())
	}
}

// A mark that goes down to nothing must not leave the old one in its place.
func TestMarkOfAnEmptiedLogIsLowered(t *testing.T) {
	cfg := testConfig(vfs.NewCrashableMem(), "d")
	s := openTest(t, cfg)
	must(t, s.Log(1).Append(run(1, 9, 0)))
	must(t, s.updateMarks())
	must(t, s.Log(1).TruncateBefore(10))
	if m := s.marks.groups(1); m != (mark{}) {
		t.Fatalf("%+v", m)
	}
	must(t, s.Close())
	s = openTest(t, cfg)
	must(t, s.Log(1).Damage())
	must(t, s.Close())
}
