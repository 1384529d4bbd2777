package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

func main() {
	run := flag.String("run", "", "only mutations whose name contains this")
	list := flag.Bool("list", false, "name the mutations and their tests")
	flag.Parse()
	failed := false
	for _, m := range mutations {
		if !strings.Contains(m.name, *run) {
			continue
		}
		if *list {
			fmt.Printf("%-32s %s  %s %s\n", m.name, m.promise, m.pkg, m.test)
			continue
		}
		began := time.Now()
		noticed, out, err := try(m)
		switch {
		case err != nil:
			failed = true
			fmt.Printf("%-32s %s  could not be tried: %v\n%s\n", m.name, m.promise, err, out)
		case !noticed:
			failed = true
			fmt.Printf("%-32s %s  NOT NOTICED by %s %s (%v)\n", m.name, m.promise, m.pkg, m.test, time.Since(began).Round(time.Second))
		default:
			fmt.Printf("%-32s %s  noticed by %s %s (%v)\n", m.name, m.promise, m.pkg, m.test, time.Since(began).Round(time.Second))
		}
	}
	if failed {
		os.Exit(1)
	}
}

// try runs the mutation's test on the changed sources, and says whether it failed as it should.
func try(m mutation) (noticed bool, out string, err error) {
	dir, err := os.MkdirTemp("", "posthouse-mutate-")
	if err != nil {
		return false, "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(dir)
	if err != nil {
		return false, "", err
	}
	// It must build, or the failure says nothing.
	build := exec.Command("go", "test", "-overlay", overlay, "-run", "^$", m.pkg)
	build.Dir = root()
	if b, err := build.CombinedOutput(); err != nil {
		return false, string(b), fmt.Errorf("the changed sources do not build: %w", err)
	}
	test := exec.Command("go", append([]string{"test", "-overlay", overlay, "-count=1", "-timeout", "5m", "-run", m.test, m.pkg}, m.args...)...)
	test.Dir = root()
	b, err := test.CombinedOutput()
	return err != nil, string(b), nil
}

// overlay writes the changed files and the list of them to dir, and returns the list's path.
func (m mutation) overlay(dir string) (string, error) {
	changed := map[string]string{}
	for _, e := range m.edits {
		text, ok := changed[e.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root(), e.file))
			if err != nil {
				return "", err
			}
			text = string(b)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return "", fmt.Errorf("%s: %q is there %d times, not once: the guard has changed, and so must its mutation", e.file, e.old, n)
		}
		changed[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	list := struct{ Replace map[string]string }{map[string]string{}}
	for file, text := range changed {
		path := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
		list.Replace[filepath.Join(root(), file)] = path
	}
	b, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, b, 0o600)
}

// root is the directory of go.mod.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}
