package storage_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/posthouse/posthouse/storage/storagetest"
)

// An iterator that stops for an error looks like one that is through: what it has not shown is taken for not
// there.
func TestNoIteratorGoesUnchecked(t *testing.T) {
	for _, dir := range []string{".", "storagetest", "internal/disk", "internal/faultfs"} {
		found, err := storagetest.UncheckedIterators(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			t.Error(f)
		}
	}
}

// What makes disks fail is not in a normal build.
func TestFaultsAreNotInNormalBuilds(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	tagged := 0
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") || !strings.Contains(string(src), "internal/faultfs\"") {
			continue
		}
		if !strings.HasPrefix(string(src), "//go:build posthouse_faults\n") {
			t.Errorf("%s imports faultfs in every build", name)
		}
		tagged++
	}
	if tagged != 1 {
		t.Errorf("%d files import faultfs, want 1", tagged)
	}
}

// The list of crash points that harnesses choose from is the list of those that exist.
func TestCrashPointsAreListed(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	direct := regexp.MustCompile(`(?:disk\.Point\([^"]*|im\.point\()"([a-z][a-z.]+)"`)
	synced := regexp.MustCompile(`(?:l\.commit|l\.updateHard)\("([a-z]+)"`)
	var points []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range direct.FindAllSubmatch(src, -1) {
			points = append(points, string(m[1]))
		}
		for _, m := range synced.FindAllSubmatch(src, -1) {
			points = append(points, string(m[1])+".before", string(m[1])+".synced")
		}
	}
	for i, p := range points {
		if p == "create." { // followed by the name of a database
			points[i] = "create.log"
			points = append(points, "create.state")
		}
	}
	slices.Sort(points)
	points = slices.Compact(points)
	listed := slices.Clone(storagetest.Points)
	slices.Sort(listed)
	if !slices.Equal(points, listed) {
		t.Fatalf("in the code:\n%q\nlisted:\n%q", points, listed)
	}
}
