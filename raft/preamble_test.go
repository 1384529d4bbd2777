package raft

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
)

var aPreamble = preamble{
	Kind: kindRaft, Group: 7, Cluster: "cluster", Formation: "0123", From: "a/1.0", To: "b/2.0", Opening: opening{3, "boot"},
}

func TestPreamble(t *testing.T) {
	b := aPreamble.append(nil)
	r := bytes.NewReader(append(b, "behind"...))
	got, err := readPreamble(r)
	if err != nil || !reflect.DeepEqual(got, aPreamble) {
		t.Fatalf("read %+v, %v", got, err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "behind" {
		t.Errorf("what follows the preamble was touched: %q is left", rest)
	}
	for i := range b {
		if _, err := readPreamble(bytes.NewReader(b[:i])); err == nil {
			t.Errorf("%d of %d bytes are taken", i, len(b))
		}
	}
	for name, change := range map[string]func([]byte){
		"magic":          func(b []byte) { b[0] = 'X' },
		"version":        func(b []byte) { b[4]++ },
		"inner length":   func(b []byte) { b[13] = 0xff },
		"claimed length": func(b []byte) { b[10] = 0xff },
	} {
		c := bytes.Clone(b)
		change(c)
		if _, err := readPreamble(bytes.NewReader(c)); !errors.Is(err, errPreamble) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswer(t *testing.T) {
	if text, err := readAnswer(bytes.NewReader(answer{Text: "3/boot"}.append(nil))); err != nil || text != "3/boot" {
		t.Errorf("OK is read as %q, %v", text, err)
	}
	var r *refusal
	_, err := readAnswer(bytes.NewReader(answer{verdictCut, "why"}.append(nil)))
	if !errors.As(err, &r) || r.Verdict != verdictCut || r.Text != "why" {
		t.Errorf("a refusal is read as %v", err)
	}
}

func FuzzPreamble(f *testing.F) {
	f.Add(aPreamble.append(nil))
	f.Add([]byte(preambleMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := readPreamble(bytes.NewReader(b)); err == nil {
			again, err := readPreamble(bytes.NewReader(p.append(nil)))
			if err != nil || !reflect.DeepEqual(again, p) {
				t.Fatalf("%+v is read again as %+v, %v", p, again, err)
			}
		}
		_, _ = readAnswer(bytes.NewReader(b))
	})
}
