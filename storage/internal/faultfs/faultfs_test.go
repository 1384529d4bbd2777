package faultfs

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

func create(t *testing.T, fs *FS, name string) vfs.File {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFaultsStrikeTheirClassAndCount(t *testing.T) {
	fs := New(vfs.NewMem())
	if err := fs.MkdirAll("d/log", 0o755); err != nil {
		t.Fatal(err)
	}
	wal, table := create(t, fs, "d/log/000001.log"), create(t, fs, "d/log/000002.sst")
	remove := fs.Inject(Fault{Classes: []disk.Class{disk.LogWAL}, Op: Sync, Skip: 1, Times: 2, Err: syscall.EIO})
	var got []string
	for range 5 {
		if err := table.Sync(); err != nil {
			t.Fatal(err)
		}
		if _, err := wal.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := wal.Sync(); errors.Is(err, syscall.EIO) {
			got = append(got, "EIO")
		} else {
			got = append(got, "ok")
		}
	}
	if s := strings.Join(got, " "); s != "ok EIO EIO ok ok" || fs.Struck() != 2 {
		t.Fatal(s, fs.Struck())
	}
	remove()
}

func TestRoom(t *testing.T) {
	fs := New(vfs.NewMem())
	f := create(t, fs, "a")
	if n, err := f.Write(make([]byte, 100)); n != 100 || err != nil {
		t.Fatal(n, err)
	}
	fs.SetFree(150)
	if n, err := f.Write(make([]byte, 200)); n != 150 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(n, err)
	}
	if u, err := fs.GetDiskUsage("a"); err != nil || u.AvailBytes != 0 {
		t.Fatal(u, err)
	}
	if n, err := f.WriteAt(make([]byte, 50), 0); n != 50 || err != nil { // there already
		t.Fatal(n, err)
	}
	if _, err := f.WriteAt(make([]byte, 50), 230); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), fs.Remove("a")); err != nil || fs.Free() != 250 {
		t.Fatal(err, fs.Free())
	}
	fs.SetFree(-1)
	if _, err := fs.GetDiskUsage("a"); err == nil {
		t.Fatal("memory without a limit has a usage")
	}
}

func TestControllerRunsCommands(t *testing.T) {
	fs := New(vfs.NewMem())
	var armed string
	c := NewController(fs, func(point string, skip int) { armed = point })
	f := create(t, fs, "identity")
	if got := c.Do("fail class=small,log-wal op=sync err=EIO times=1"); got != "ok" {
		t.Fatal(got)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if got := c.Do("struck"); got != "1" {
		t.Fatal(got)
	}
	if got := c.Do("hang op=sync"); got != "ok" {
		t.Fatal(got)
	}
	done := make(chan error)
	go func() { done <- f.Sync() }()
	for fs.Struck() < 2 {
		time.Sleep(time.Millisecond)
	}
	select {
	case <-done:
		t.Fatal("it does not hang")
	default:
	}
	if got := c.Do("release"); got != "ok" {
		t.Fatal(got)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := c.Do("crash at=append.synced"); got != "ok" || armed != "append.synced" {
		t.Fatal(got, armed)
	}
	if got := c.Do("free 5"); got != "ok" || fs.Free() != 5 {
		t.Fatal(got, fs.Free())
	}
	if got := c.Do("free off"); got != "ok" || fs.Free() != -1 {
		t.Fatal(got, fs.Free())
	}
	for _, bad := range []string{"", "fail", "fail err=EWHAT", "fail class=nothing err=EIO", "hang op=walk", "free", "free x", "crash", "slow", "do it", "fail err=EIO skip=x", "fail x=y"} {
		if got := c.Do(bad); !strings.HasPrefix(got, "error: ") {
			t.Errorf("%q: %s", bad, got)
		}
	}
}
