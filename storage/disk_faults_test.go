//go:build posthouse_faults

package storage_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
)

// The test binary is also the process whose disk is driven: it appends entries, says so on its standard
// output, and ends as Fatal demands.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FAULTS_TEST_DIR"); dir != "" {
		appendForEver(dir)
	}
	os.Exit(m.Run())
}

func appendForEver(dir string) {
	s, err := storage.Open(context.Background(), storage.Config{
		Dir: dir, Cluster: "c", Node: "n", Reserve: -1, LowSpace: 2, FullSpace: 1,
		SpaceInterval: 5 * time.Millisecond,
		Logger:        slog.New(slog.NewTextHandler(os.Stdout, nil)),
		Fatal: func(msg string, err error) {
			fmt.Println("fatal", msg, err)
			os.Exit(7)
		},
	})
	if err != nil {
		fmt.Println("open", err)
		os.Exit(8)
	}
	for i := s.Log(1).Last() + 1; ; i++ {
		if err := s.Log(1).Append(entry(i)); err != nil {
			fmt.Println("append", err)
			os.Exit(9)
		}
		fmt.Println("kept", i, s.Space().Level)
	}
}

type driven struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *bufio.Scanner
	socket string
	conn   net.Conn
	reply  *bufio.Reader
}

func start(t *testing.T, dir string, first ...string) *driven {
	t.Helper()
	d := run(t, dir, first...)
	d.line("kept")
	d.connect()
	return d
}

// run starts the process, whose disk obeys first before it is used.
func run(t *testing.T, dir string, first ...string) *driven {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "faults")
	must(t, os.WriteFile(socket+".start", []byte(strings.Join(first, "\n")), 0o600))
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FAULTS_TEST_DIR="+dir, storage.FaultsEnv+"="+socket)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return &driven{t: t, cmd: cmd, out: bufio.NewScanner(out), socket: socket}
}

func (d *driven) connect() {
	d.t.Helper()
	conn, err := net.Dial("unix", d.socket)
	must(d.t, err)
	d.conn, d.reply = conn, bufio.NewReader(conn)
}

// line reads until a line with that text.
func (d *driven) line(text string) string {
	d.t.Helper()
	for d.out.Scan() {
		if strings.Contains(d.out.Text(), text) {
			return d.out.Text()
		}
	}
	d.t.Fatalf("the process has ended without %q: %v", text, d.out.Err())
	return ""
}

func (d *driven) do(command string) {
	d.t.Helper()
	_, err := fmt.Fprintln(d.conn, command)
	must(d.t, err)
	if answer, err := d.reply.ReadString('\n'); err != nil || answer != "ok\n" {
		d.t.Fatalf("%s: %q %v", command, answer, err)
	}
}

func TestAnotherProcessDrivesTheDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d := start(t, dir)

	d.do("free 0")
	d.line("disk is full")
	d.do("free off")
	d.line("there is space again")
	d.line("kept")

	d.do("hang class=log-wal op=sync for=200ms")
	d.line("kept")

	d.do("fail class=log-wal op=sync err=EIO times=1")
	if got := d.line("fatal"); !strings.Contains(got, "input/output error") {
		t.Fatal(got)
	}
	if err := d.cmd.Wait(); err == nil || d.cmd.ProcessState.ExitCode() != 7 {
		t.Fatalf("exit: %v", err)
	}

	d = start(t, dir)
	d.do("crash at=append.before skip=3")
	last := ""
	for d.out.Scan() {
		if strings.HasPrefix(d.out.Text(), "kept") {
			last = d.out.Text()
		}
	}
	err := d.cmd.Wait()
	status, _ := d.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err == nil || status.Signal() != syscall.SIGKILL {
		t.Fatalf("exit: %v", err)
	}
	var kept uint64
	fmt.Sscanf(last, "kept %d", &kept)
	s, err := storage.Open(t.Context(), storage.Config{Dir: dir, Cluster: "c", Node: "n", Fatal: func(string, error) {}})
	must(t, err)
	if s.Log(1).Last() < kept || kept == 0 {
		t.Fatalf("the log ends at %d, %d was kept", s.Log(1).Last(), kept)
	}
	must(t, s.Close())
}

// A disk that is full from the first operation on is waited for, and used when there is space.
func TestADiskIsDrivenFromItsStart(t *testing.T) {
	d := run(t, filepath.Join(t.TempDir(), "data"), "fail class=small err=EIO times=1")
	if got := d.line("open"); !strings.Contains(got, "input/output error") {
		t.Fatal(got)
	}
	d = run(t, filepath.Join(t.TempDir(), "data"), "free 0")
	d.line("disk is full")
	d.connect()
	d.do("free off")
	d.line("kept")
}
