//go:build posthouse_faults

package storage

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
	"github.com/posthouse/posthouse/storage/internal/faultfs"
)

// FaultsEnv names the unix socket on which another process may drive the faults of this one's disk. This file
// is only in builds with the tag posthouse_faults, for tests with real processes.
const FaultsEnv = "POSTHOUSE_TEST_FAULTS"

var faulty = sync.OnceValue(func() FS {
	fs := faultfs.New(vfs.Default)
	crash := &crashPoints{armed: make(map[string]int)}
	if path := os.Getenv(FaultsEnv); path != "" {
		if err := serveFaults(path, fs, crash); err != nil {
			panic(fmt.Sprintf("%s: %v", FaultsEnv, err))
		}
	}
	return disk.New(fs, crash.reached)
})

// Disk is the real file system, with faults. All callers share them.
func Disk() FS { return faulty() }

// faultsAtStart, behind the name of the socket, names a file of commands that are obeyed before the disk is used.
const faultsAtStart = ".start"

// serveFaults takes commands, one a line, and answers each with a line (faultfs.Controller says which).
func serveFaults(path string, fs *faultfs.FS, crash *crashPoints) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	c := faultfs.NewController(fs, crash.arm)
	if err := obeyAtStart(path+faultsAtStart, c); err != nil {
		return err
	}
	var one sync.Mutex
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					one.Lock()
					answer := c.Do(lines.Text())
					one.Unlock()
					if _, err := fmt.Fprintln(conn, answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return nil
}

// obeyAtStart runs the commands in a file, if it is there.
func obeyAtStart(path string, c *faultfs.Controller) error {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if answer := c.Do(line); strings.HasPrefix(answer, "error") {
			return fmt.Errorf("%s: %s: %s", path, strings.TrimSpace(line), answer)
		}
	}
	return nil
}

// crashPoints ends the process at a named point, as kill -9 would.
type crashPoints struct {
	mu    sync.Mutex
	armed map[string]int // how often the point may pass
}

func (c *crashPoints) arm(point string, skip int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed[point] = skip
}

func (c *crashPoints) reached(point string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	skip, ok := c.armed[point]
	if !ok {
		return
	}
	if skip > 0 {
		c.armed[point] = skip - 1
		return
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {} // until the signal arrives
}
