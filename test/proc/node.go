package proc

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
)

// Node is one posthouse process and its place on this machine, which outlives the process.
type Node struct {
	Name   string
	Dir    string // its data directory
	AMQP   string // where clients connect
	Admin  string // where its API listens
	raft   string
	router string

	t      testing.TB
	binary string
	config string
	env    []string
	log    string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
	err    error         // of Wait; after exited
}

// Start starts the process. It does not wait until it is ready.
func (n *Node) Start() {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		n.t.Fatalf("node %s runs already", n.Name)
	}
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	fmt.Fprintf(log, "--- start %s\n", time.Now().Format(time.RFC3339Nano))
	cmd := exec.Command(n.binary, "serve", "--config", n.config)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(append(os.Environ(), "GOTRACEBACK=all"), n.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := startLocked(cmd); err != nil {
		n.t.Fatalf("start node %s: %v", n.Name, err)
	}
	exited := make(chan struct{})
	n.cmd, n.exited, n.err = cmd, exited, nil
	go func() {
		err := cmd.Wait()
		n.mu.Lock()
		n.err = err
		n.mu.Unlock()
		close(exited)
	}()
}

// Setenv puts a variable into the environment of every later start, until the test t ends.
func (n *Node) Setenv(t testing.TB, key, value string) {
	before := n.env
	n.env = append(slices.Clone(before), key+"="+value)
	t.Cleanup(func() { n.env = before })
}

// PID is the process id, 0 if none runs.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return 0
	}
	return n.cmd.Process.Pid
}

// Running tells whether the process has been started and has not ended.
func (n *Node) Running() bool {
	n.mu.Lock()
	cmd, exited := n.cmd, n.exited
	n.mu.Unlock()
	if cmd == nil {
		return false
	}
	select {
	case <-exited:
		return false
	default:
		return true
	}
}

// endedByItself tells whether the process has ended, and how, though nobody ended it and nobody has waited for its end.
func (n *Node) endedByItself() (ended bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return false, nil
	}
	select {
	case <-n.exited:
		return true, n.err
	default:
		return false, nil
	}
}

// Kill ends the process with SIGKILL and waits for its end.
func (n *Node) Kill() { n.signalAndWait(syscall.SIGKILL) }

// Terminate asks the process to stop and waits for its end; it returns the process's error.
func (n *Node) Terminate() error { return n.signalAndWait(syscall.SIGTERM) }

// Stop halts the process without its knowing (SIGSTOP); Continue lets it go on.
func (n *Node) Stop() { n.signal(syscall.SIGSTOP) }

// Continue undoes Stop.
func (n *Node) Continue() { n.signal(syscall.SIGCONT) }

func (n *Node) signal(s os.Signal) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		n.t.Fatalf("node %s does not run", n.Name)
	}
	if err := n.cmd.Process.Signal(s); err != nil && n.Name != "" {
		n.t.Logf("signal %v to node %s: %v", s, n.Name, err)
	}
}

func (n *Node) signalAndWait(s os.Signal) error {
	n.mu.Lock()
	cmd, exited := n.cmd, n.exited
	n.mu.Unlock()
	if cmd == nil {
		return nil
	}
	cmd.Process.Signal(s)
	cmd.Process.Signal(syscall.SIGCONT) // a stopped process takes no SIGTERM
	<-exited
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cmd = nil
	return n.err
}

// WaitExit waits until the process ends by itself, and returns its error.
func (n *Node) WaitExit(timeout time.Duration) error {
	n.t.Helper()
	n.mu.Lock()
	exited := n.exited
	n.mu.Unlock()
	select {
	case <-exited:
	case <-time.After(timeout):
		n.t.Fatalf("node %s still runs after %v", n.Name, timeout)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cmd = nil
	return n.err
}

// Restart starts the process again after Kill or Terminate.
func (n *Node) Restart() { n.Start() }

// Log is what the process has written so far, all its lives together.
func (n *Node) Log() string {
	b, _ := os.ReadFile(n.log)
	return string(b)
}

// RSS is the process's resident memory in bytes.
func (n *Node) RSS() int64 {
	var size, resident int64
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", n.PID()))
	if err != nil {
		return 0
	}
	fmt.Sscan(string(b), &size, &resident)
	return resident * int64(os.Getpagesize())
}

// Metric is the sum of the node's metrics whose name and labels begin so. It is false if there is none, or the node can't be asked.
func (n *Node) Metric(prefix string) (sum float64, ok bool) {
	var metrics string
	if n.Get(api.PathMetrics, &metrics) != nil {
		return 0, false
	}
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, prefix) {
			line = strings.TrimSpace(line)
			f, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			sum, ok = sum+f, ok || err == nil
		}
	}
	return sum, ok
}

// Heap is the bytes of the process's heap that are in use, as its metrics say; 0 if they can't be had.
func (n *Node) Heap() int64 {
	f, _ := n.Metric("go_memstats_heap_inuse_bytes ")
	return int64(f)
}

// DiskUsage is the bytes under the data directory, or a part of it.
func (n *Node) DiskUsage(part ...string) int64 {
	var total int64
	filepath.Walk(filepath.Join(append([]string{n.Dir}, part...)...), func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}

var client = &http.Client{Timeout: 5 * time.Second}

// Get asks the node's API and decodes the answer into out.
func (n *Node) Get(path string, out any) error { return n.Call(http.MethodGet, path, nil, out) }

// Call sends a request to the node's API.
func (n *Node) Call(method, path string, body io.Reader, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+n.Admin+path, body)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		e := &api.Error{}
		if json.Unmarshal(data, e) == nil && e.Message != "" {
			return e
		}
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	}
	if out == nil {
		return nil
	}
	if s, ok := out.(*string); ok {
		*s = string(data)
		return nil
	}
	return json.Unmarshal(data, out)
}
