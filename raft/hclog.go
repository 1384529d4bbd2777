package raft

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// quiet is how long a line of the Raft library is not repeated: it logs each failed RPC to a dead peer.
const quiet = 10 * time.Second

// libLogger hands the Raft library's log lines to slog, one level lower (its Info is our Debug) and each message at most
// once in a while, with the number left out.
type libLogger struct {
	hclog.Logger // the methods that the library does not use
	to           *slog.Logger
	name         string
	args         []any
	seen         *lineLimit
}

func newLibLogger(to *slog.Logger) hclog.Logger {
	return &libLogger{Logger: hclog.NewNullLogger(), to: to, seen: &lineLimit{at: map[string]*line{}}}
}

func (l *libLogger) emit(level slog.Level, msg string, args []any) {
	ctx := context.Background()
	if !l.to.Enabled(ctx, level) {
		return
	}
	left, ok := l.seen.pass(msg, time.Now())
	if !ok {
		return
	}
	all := append(append([]any{}, l.args...), args...)
	for i, a := range all {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 { // a deferred Sprintf
			if format, ok := f[0].(string); ok {
				all[i] = fmt.Sprintf(format, f[1:]...)
			}
		}
	}
	if left > 0 {
		all = append(all, "left_out", left)
	}
	l.to.Log(ctx, level, msg, all...)
}

func (l *libLogger) Log(level hclog.Level, msg string, args ...any) {
	switch level {
	case hclog.Error:
		l.Error(msg, args...)
	case hclog.Warn:
		l.Warn(msg, args...)
	default:
		l.Info(msg, args...)
	}
}

func (l *libLogger) Trace(string, ...any)          {}
func (l *libLogger) Debug(string, ...any)          {}
func (l *libLogger) Info(msg string, args ...any)  { l.emit(slog.LevelDebug, msg, args) }
func (l *libLogger) Warn(msg string, args ...any)  { l.emit(slog.LevelInfo, msg, args) }
func (l *libLogger) Error(msg string, args ...any) { l.emit(slog.LevelWarn, msg, args) }
func (l *libLogger) IsTrace() bool                 { return false }
func (l *libLogger) IsDebug() bool                 { return false }
func (l *libLogger) IsInfo() bool                  { return true }
func (l *libLogger) IsWarn() bool                  { return true }
func (l *libLogger) IsError() bool                 { return true }
func (l *libLogger) Name() string                  { return l.name }
func (l *libLogger) ImpliedArgs() []any            { return l.args }

func (l *libLogger) With(args ...any) hclog.Logger {
	c := *l
	c.args = append(append([]any{}, l.args...), args...)
	return &c
}

func (l *libLogger) Named(name string) hclog.Logger {
	c := *l
	c.name = name
	return &c
}

func (l *libLogger) ResetNamed(name string) hclog.Logger { return l.Named(name) }

func (l *libLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(nil), "", 0)
}

func (l *libLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return io.Discard }

// lineLimit remembers when each message was last let through. The library has a few dozen messages.
type lineLimit struct {
	mu sync.Mutex
	at map[string]*line
}

type line struct {
	last time.Time
	left int
}

func (s *lineLimit) pass(msg string, now time.Time) (left int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.at[msg]
	if e == nil {
		e = &line{}
		s.at[msg] = e
	} else if now.Sub(e.last) < quiet {
		e.left++
		return 0, false
	}
	left, e.left, e.last = e.left, 0, now
	return left, true
}
