package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// python is Debian's: python3-qpid-proton is not seen by others.
const python = "/usr/bin/python3"

var pythonIsThere = sync.OnceValue(func() error {
	if out, err := exec.Command(python, "-c", "import proton").CombinedOutput(); err != nil {
		return fmt.Errorf("%s can't import proton (Debian: python3-qpid-proton): %v %s", python, err, lastLine(out))
	}
	return nil
})

func needPython(t *testing.T) {
	t.Helper()
	if err := pythonIsThere(); err != nil {
		t.Skip(err)
	}
}

func startPython(t *testing.T, container string) *peer {
	t.Helper()
	needPython(t)
	return startProcess(t, "python "+container, python, "testdata/peer.py", container)
}

var cppDir string // where the compiled peer is; "" if none is

// cppPeer compiles the C++ peer, once a test process.
var cppPeer = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "posthouse-interop-")
	if err != nil {
		return "", err
	}
	cppDir = dir
	path := filepath.Join(dir, "peer")
	if out, err := exec.Command("g++", "-std=c++17", "-o", path, "testdata/peer.cpp", "-lqpid-proton-cpp").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

var cppIsThere = sync.OnceValue(func() error {
	cmd := exec.Command("g++", "-std=c++17", "-fsyntax-only", "-x", "c++", "-")
	cmd.Stdin = strings.NewReader("#include <proton/connection.hpp>\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("g++ can't compile with Proton C++ (Debian: g++, libqpid-proton-cpp12-dev): %v %s", err, lastLine(out))
	}
	return nil
})

func startCPP(t *testing.T, container string) *peer {
	t.Helper()
	if err := cppIsThere(); err != nil {
		t.Skip(err)
	}
	path, err := cppPeer()
	if err != nil {
		t.Fatalf("compile testdata/peer.cpp: %v", err)
	}
	return startProcess(t, "cpp "+container, path, container)
}

func removePeers() {
	if cppDir != "" {
		os.RemoveAll(cppDir)
	}
}

// startProcess starts a peer that takes commands on stdin and tells events on stdout.
func startProcess(t *testing.T, name string, command ...string) *peer {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	var wrong string
	p := &peer{t: t, name: name, heard: make(chan event, 1<<12), end: func() string { return wrong },
		command: func(line string) error { _, err := io.WriteString(in, line+"\n"); return err }}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := decode(out, p.heard)
		if waitErr := cmd.Wait(); err == nil {
			err = waitErr
		}
		if err != nil || stderr.Len() > 0 {
			wrong = fmt.Sprintf("%v; stderr: %q", err, stderr.String())
		}
		close(p.heard)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		for {
			select {
			case <-p.heard: // so that its last words don't keep it from ending
			case <-ended:
				if t.Failed() && stderr.Len() > 0 {
					t.Logf("%s's stderr:\n%s", name, stderr.String())
				}
				return
			}
		}
	})
	return p
}

func decode(out io.Reader, heard chan<- event) error {
	d := json.NewDecoder(out)
	for {
		var e event
		if err := d.Decode(&e); err == io.EOF {
			return nil
		} else if err != nil {
			rest, _ := io.ReadAll(io.MultiReader(d.Buffered(), out))
			return fmt.Errorf("read its events: %w: %.200q", err, rest)
		}
		heard <- e
	}
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}
