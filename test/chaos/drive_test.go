package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/cli"
	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// drive tells a node's disk what to do (storage/internal/faultfs.Controller says what there is).
func drive(t testing.TB, n *proc.Node, command string) {
	t.Helper()
	if err := tryDrive(n, command); err != nil {
		t.Fatalf("node %s, disk, %s: %v", n.Name, command, err)
	}
}

func tryDrive(n *proc.Node, command string) error {
	conn, err := net.DialTimeout("unix", filepath.Join(sockets, n.Name), 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(conn, command); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && answer != "ok\n" {
		err = errors.New(strings.TrimSpace(answer))
	}
	return err
}

// atStart is the file with what a node's disk does from its first operation on.
func atStart(n *proc.Node) string { return filepath.Join(sockets, n.Name+".start") }

func driveAtStart(t testing.TB, n *proc.Node, commands ...string) {
	t.Helper()
	if err := os.WriteFile(atStart(n), []byte(strings.Join(commands, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lines is what a node logs from now on.
func lines(n *proc.Node) func() string {
	from := len(n.Log())
	return func() string { return n.Log()[from:] }
}

// exitCode is that of a process that has ended, from its error.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// mustFail waits until a node ends by itself, as one does that must not go on, and says why.
func mustFail(t testing.TB, n *proc.Node, said func() string, why ...string) {
	t.Helper()
	if code := exitCode(n.WaitExit(60 * time.Second)); code != cli.ExitFatal {
		t.Errorf("node %s ended with exit code %d, not %d", n.Name, code, cli.ExitFatal)
	}
	for _, w := range append(why, "the node can't go on") {
		if !strings.Contains(said(), w) {
			t.Errorf("node %s did not say %q when it ended", n.Name, w)
		}
	}
}

// says waits until a node has logged a text.
func says(s *actor.Story, said func() string, text string) {
	s.T.Helper()
	s.Eventually(func() bool { return strings.Contains(said(), text) }, func() string { return fmt.Sprintf("nobody says %q", text) })
}
