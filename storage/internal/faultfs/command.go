package faultfs

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/posthouse/posthouse/storage/internal/disk"
)

// Controller takes commands, one a line, from a test that drives another process's disk:
//
//	fail class=log-wal op=sync err=EIO [skip=N] [times=N]
//	hang class=log-wal,small op=sync [for=3s]   without `for`: until `release`
//	slow class=log-wal op=sync by=200ms [times=N]
//	free 1000000 | free off                     reported and enforced free bytes
//	crash at=append.synced [skip=N]             end the process at a crash point
//	release | clear | struck
//
// class may be a list, or missing: all classes; op likewise. The answer is one line: "ok", a number, or
// "error: ...".
type Controller struct {
	fs    *FS
	Crash func(point string, skip int) // arms a crash point
	hangs []func()
}

// NewController drives fs. It belongs to one goroutine.
func NewController(fs *FS, crash func(point string, skip int)) *Controller {
	return &Controller{fs: fs, Crash: crash}
}

var errnos = map[string]error{
	"EIO": syscall.EIO, "ENOSPC": syscall.ENOSPC, "EDQUOT": syscall.EDQUOT, "EROFS": syscall.EROFS,
}

// Do runs one command and returns the answer.
func (c *Controller) Do(line string) string {
	words := strings.Fields(line)
	if len(words) == 0 {
		return "error: empty command"
	}
	answer, err := c.do(words[0], words[1:])
	if err != nil {
		return "error: " + err.Error()
	}
	return answer
}

func (c *Controller) do(verb string, words []string) (string, error) {
	switch verb {
	case "free":
		return "ok", c.free(words)
	case "release":
		c.release()
		return "ok", nil
	case "clear":
		c.fs.Clear()
		c.release()
		return "ok", nil
	case "struck":
		return strconv.Itoa(c.fs.Struck()), nil
	}
	o, err := parseOptions(words)
	if err != nil {
		return "", err
	}
	switch {
	case verb == "crash" && o.at != "":
		c.Crash(o.at, o.fault.Skip)
	case verb == "fail" && o.fault.Err != nil, verb == "slow" && o.fault.Delay > 0:
		c.fs.Inject(o.fault)
	case verb == "hang":
		c.hang(o)
	default:
		return "", fmt.Errorf("%s %s: unknown, or something is missing", verb, strings.Join(words, " "))
	}
	return "ok", nil
}

func (c *Controller) free(words []string) error {
	if len(words) != 1 {
		return fmt.Errorf("free wants a number of bytes, or off")
	}
	if words[0] == "off" {
		c.fs.SetFree(-1)
		return nil
	}
	n, err := strconv.ParseInt(words[0], 10, 64)
	if err == nil {
		c.fs.SetFree(n)
	}
	return err
}

func (c *Controller) hang(o options) {
	gate := make(chan struct{})
	o.fault.Hang = gate
	remove := c.fs.Inject(o.fault)
	release := func() {
		remove()
		close(gate)
	}
	if o.hangFor > 0 {
		time.AfterFunc(o.hangFor, release)
		return
	}
	c.hangs = append(c.hangs, release)
}

func (c *Controller) release() {
	for _, release := range c.hangs {
		release()
	}
	c.hangs = nil
}

type options struct {
	fault   Fault
	at      string
	hangFor time.Duration
}

func parseOptions(words []string) (o options, err error) {
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "class":
			o.fault.Classes, err = parseClasses(value)
		case "op":
			o.fault.Op, err = parseOp(value)
		case "err":
			if o.fault.Err = errnos[value]; o.fault.Err == nil {
				err = fmt.Errorf("error %q is not known", value)
			}
		case "skip":
			o.fault.Skip, err = strconv.Atoi(value)
		case "times":
			o.fault.Times, err = strconv.Atoi(value)
		case "by":
			o.fault.Delay, err = time.ParseDuration(value)
		case "for":
			o.hangFor, err = time.ParseDuration(value)
		case "at":
			o.at = value
		default:
			err = fmt.Errorf("option %q is not known", name)
		}
		if err != nil {
			return o, err
		}
	}
	return o, nil
}

func parseClasses(list string) (classes []disk.Class, err error) {
	for name := range strings.SplitSeq(list, ",") {
		c, ok := disk.ParseClass(name)
		if !ok {
			return nil, fmt.Errorf("class %q is not known", name)
		}
		classes = append(classes, c)
	}
	return classes, nil
}

func parseOp(name string) (Op, error) {
	for i, n := range opNames {
		if n == name {
			return Op(i), nil
		}
	}
	return 0, fmt.Errorf("operation %q is not known", name)
}
