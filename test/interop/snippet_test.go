package interop

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/test/proc"
)

// program is a snippet that runs.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // of stdout
	errs  *strings.Builder
}

func runProgram(t *testing.T, command ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(command[0], command[1:]...), lines: make(chan string, 1<<10), errs: &strings.Builder{}}
	p.cmd.Stderr = p.errs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(p.kill)
	return p
}

// prints waits until the program prints a line.
func (p *program) prints(want string) {
	p.t.Helper()
	select {
	case got, ok := <-p.lines:
		if !ok {
			p.kill()
			p.t.Fatalf("the program ended: %s", p.errs)
		}
		if got != want {
			p.t.Errorf("the program printed %q, want %q", got, want)
		}
	case <-time.After(patience):
		p.t.Fatalf("the program has not printed %q", want)
	}
}

// kill ends the program as Ctrl-C would, but with no chance to be polite.
func (p *program) kill() {
	if p.cmd.ProcessState != nil {
		return
	}
	p.cmd.Process.Kill()
	for range p.lines {
	}
	p.cmd.Wait()
	if p.errs.Len() > 0 {
		p.t.Errorf("the program wrote to stderr: %s", p.errs)
	}
}

// TestSnippets: what `posthouse sub --print` prints is a program that subscribes durably, with the limits that were
// asked for, confirms, can be killed, and goes on where it was.
func TestSnippets(t *testing.T) {
	a, b, _ := cluster(t)
	for _, l := range []struct {
		language, file string
		run            func(t *testing.T, path string) []string // the command that runs it
		line           func(body string) string                 // what it prints of a message
		url            string
	}{
		{"python", "subscribe.py", func(t *testing.T, path string) []string {
			needPython(t)
			return []string{python, "-u", path}
		}, func(body string) string { return "b'" + body + "'" }, "amqp://" + a.AMQP},
		{"go", "main.go", buildSnippet, func(body string) string { return body }, "amqp://" + b.AMQP},
		{"go with a password", "main.go", buildSnippet, func(body string) string { return body }, "amqp://alice:open%20sesame@" + b.AMQP},
		{"python with a password", "subscribe.py", func(t *testing.T, path string) []string {
			needPython(t)
			return []string{python, "-u", path}
		}, func(body string) string { return "b'" + body + "'" }, "amqp://alice:open%20sesame@" + a.AMQP},
	} {
		t.Run(l.language, func(t *testing.T) {
			name, address := unique("billing"), unique("orders")
			language, _, _ := strings.Cut(l.language, " ")
			source, err := a.Command("sub", address, "--url", l.url, "--durable", name, "--max-messages", "500", "--max-age", "36h", "--print", language)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), l.file)
			if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
				t.Fatal(err)
			}
			command := l.run(t, path)
			program := runProgram(t, command...)
			s := attached(t, a, name)
			if s.Address != address || s.Limits.MaxMessages != 500 || !sameDuration(s.Limits.MaxAge, 36*time.Hour) || s.Owner != owner(l.url) {
				t.Errorf("the subscription is %+v", s)
			}
			publish := func(from, through int) {
				t.Helper()
				for i := from; i <= through; i++ {
					if out, err := b.Command("pub", address, "order "+strconv.Itoa(i)); err != nil {
						t.Fatalf("publish: %v %s", err, out)
					}
				}
			}
			publish(1, 2)
			program.prints(l.line("order 1"))
			program.prints(l.line("order 2"))
			confirmedAll(t, a, name, 2)
			program.kill()
			publish(3, 4)

			program = runProgram(t, command...)
			program.prints(l.line("order 3"))
			program.prints(l.line("order 4"))
			confirmedAll(t, a, name, 4)
			program.kill()
			if s := find(t, a, name); s == nil || s.GivenUp != 0 {
				t.Errorf("after the program was killed: %+v", s)
			}
		})
	}
}

func owner(url string) string {
	if strings.Contains(url, "alice") {
		return "alice"
	}
	return "anonymous"
}

func sameDuration(text string, want time.Duration) bool {
	d, err := time.ParseDuration(text)
	return err == nil && d == want || text == "1d12h"
}

// buildSnippet builds a Go program with the modules of this one.
func buildSnippet(t *testing.T, path string) []string {
	binary := strings.TrimSuffix(path, ".go")
	build := exec.Command("go", "build", "-o", binary, path)
	build.Dir = proc.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the snippet: %v\n%s", err, out)
	}
	return []string{binary}
}

// find looks a subscription up by the name that the user gave to --durable.
func find(t *testing.T, n *proc.Node, name string) *api.Subscription {
	t.Helper()
	var all []api.Subscription
	if err := n.Get(api.PathSubscriptions, &all); err != nil {
		var answer *api.Error
		if !errors.As(err, &answer) {
			t.Fatal(err)
		}
		return nil
	}
	for _, s := range all {
		if s.Name == name {
			return &s
		}
	}
	return nil
}

func attached(t *testing.T, n *proc.Node, name string) api.Subscription {
	t.Helper()
	var s *api.Subscription
	proc.Eventually(t, patience, func() bool {
		s = find(t, n, name)
		return s != nil && s.State == "active" && s.Attached != ""
	}, func() string { return "the program's link on " + name + " is not there" })
	return *s
}

func confirmedAll(t *testing.T, n *proc.Node, name string, confirmed uint64) {
	t.Helper()
	var s *api.Subscription
	proc.Eventually(t, patience, func() bool {
		s = find(t, n, name)
		return s != nil && s.Messages == 0 && s.Confirmed == confirmed
	}, func() string {
		return strconv.FormatUint(confirmed, 10) + " messages of " + name + " are not confirmed"
	})
}
