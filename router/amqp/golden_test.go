package amqp

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// golden is one protocol header or frame that another implementation sent: a line of a file in testdata/golden.
type golden struct {
	side  string // client or server
	bytes []byte
}

// readGolden reads one file: comments, then lines of a side and bytes in hex.
func readGolden(t testing.TB, file string) (all []golden) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "golden", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		side, digits, _ := strings.Cut(lines.Text(), " ")
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, golden{side, b})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// goldenFrames are the frames of all files, as seeds.
func goldenFrames(t testing.TB) (all []Frame) {
	t.Helper()
	files, err := filepath.Glob("testdata/golden/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, g := range readGolden(t, filepath.Base(file)) {
			if f, _, ok, err := NextFrame(g.bytes, 1<<20); ok && err == nil {
				all = append(all, f)
			}
		}
	}
	return all
}

// message is a transfer with the message that it carries, or that it is the last part of.
type message struct {
	*Transfer
	Message *Message // nil: more is to come
}

// TestGolden decodes what others sent, compares it with what they were asked to send, and writes and reads it once more.
func TestGolden(t *testing.T) {
	for file, want := range goldenWant {
		t.Run(file, func(t *testing.T) {
			got := readGolden(t, file)
			if len(got) != len(want) {
				t.Fatalf("%d headers and frames are recorded, %d expected", len(got), len(want))
			}
			parts := map[string][]byte{} // of unfinished messages, by side
			for i, g := range got {
				checkGolden(t, i, g, want[i], parts)
			}
		})
	}
}

func checkGolden(t *testing.T, i int, g golden, want any, parts map[string][]byte) {
	t.Helper()
	if h, ok := want.(ProtocolHeader); ok {
		if got, err := ParseProtocolHeader(g.bytes); err != nil || got != h || !bytes.Equal(got.Append(nil), g.bytes) {
			t.Errorf("%d: got %v, %v; want %v", i, got, err, h)
		}
		return
	}
	f, rest, ok, err := NextFrame(g.bytes, 65536)
	if err != nil || !ok || len(rest) > 0 || f.Channel != 0 {
		t.Fatalf("%d: %+v, %v, %v", i, f, ok, err)
	}
	if f.Type == FrameSASL {
		got, err := DecodeSASL(f.Body)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%d: got %+v, %v; want %+v", i, got, err, want)
		}
		if again, err := DecodeSASL(got.Append(nil)); err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%d: again %+v, %v; want %+v", i, again, err, want)
		}
		return
	}
	got, payload, err := DecodePerformative(f.Body)
	if err != nil {
		t.Fatalf("%d: %v", i, err)
	}
	if m, ok := want.(message); ok {
		parts[g.side] = append(parts[g.side], payload...)
		if m.Message != nil {
			checkGoldenMessage(t, i, parts[g.side], m.Message)
			delete(parts, g.side)
		}
		want, payload = m.Transfer, nil
	}
	if !reflect.DeepEqual(got, want) || len(payload) > 0 {
		t.Fatalf("%d: got %+v with %d bytes behind it, want %+v", i, got, len(payload), want)
	}
	if again, _, err := DecodePerformative(got.Append(nil)); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("%d: again %+v, %v; want %+v", i, again, err, want)
	}
	if len(got.Append(nil)) > len(f.Body) {
		t.Errorf("%d: ours is longer: %x, theirs %x", i, got.Append(nil), f.Body)
	}
}

func checkGoldenMessage(t *testing.T, i int, payload []byte, want *Message) {
	t.Helper()
	got, err := DecodeMessage(payload)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%d: got %+v, %v; want %+v", i, got, err, want)
	}
	if again, err := DecodeMessage(got.Append(nil)); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("%d: again %+v, %v; want %+v", i, again, err, want)
	}
	var s Sections
	if err := s.Scan(payload); err != nil {
		t.Fatalf("%d: %v", i, err)
	}
	head, err := new(Edit).AppendHead(nil, &s)
	if err != nil || !bytes.Equal(join(head, s.Tail()), payload) {
		t.Errorf("%d: an edit that changes nothing changes the message, or %v", i, err)
	}
}
