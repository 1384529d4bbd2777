package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

var (
	buildMu sync.Mutex
	built   = map[string]string{} // build tags -> binary
)

// Binary builds posthouse as it is shipped (no cgo, no race detector), with the given build tags, once a test
// process, and returns its path. The go command's own cache makes the second build of the same sources cheap.
// POSTHOUSE_TEST_BINARY names one to be tested instead, such as an installed one (where no tags are asked for).
func Binary(t testing.TB, tags ...string) string {
	t.Helper()
	if path := os.Getenv("POSTHOUSE_TEST_BINARY"); path != "" && len(tags) == 0 {
		return path
	}
	buildMu.Lock()
	defer buildMu.Unlock()
	key := strings.Join(tags, ",")
	if path := built[key]; path != "" {
		return path
	}
	path := filepath.Join(os.TempDir(), fmt.Sprintf("posthouse-test-%d-%s", os.Getpid(), strings.ReplaceAll(key, ",", "-")))
	cmd := exec.Command("go", "build", "-tags", key, "-o", path, "./cmd/posthouse")
	cmd.Dir = Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build posthouse: %v\n%s", err, out)
	}
	built[key] = path
	return path
}

// RemoveBinaries removes what Binary built. A package that uses it calls it from TestMain.
func RemoveBinaries() {
	buildMu.Lock()
	defer buildMu.Unlock()
	for key, path := range built {
		os.Remove(path)
		delete(built, key)
	}
}

// Root is the directory of go.mod.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}
