package proc

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TakeTurn waits until no other test on this machine, of whatever package, runs a cluster, and holds the turn until
// the test ends. Clusters measured in fsyncs and elections do not get along on two cores.
func TakeTurn(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "posthouse-test-cluster.lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatalf("open the lock of clusters: %v", err)
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		t.Fatalf("lock: %v", err)
	}
	t.Cleanup(func() { f.Close() }) // closing unlocks
}
