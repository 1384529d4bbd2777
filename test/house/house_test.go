// Package house checks the plan of the house: who may import whom, and which library has which door.
package house

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/posthouse/posthouse/"

// may says what each part may import of this module, besides what lies inside the part itself. The longest prefix counts.
var may = map[string][]string{
	"router/amqp":     {},
	"router/endpoint": {"router/amqp"},
	"router/mesh":     {"router/amqp"},
	"router":          {"router/endpoint", "router/mesh", "router/amqp"},
	"storage":         {},
	"raft":            {"storage"},
	"waypoint":        {"raft", "storage", "router/amqp"},
	"waypoint/peer":   {"router/amqp"},
	"waypoint/agent":  {"waypoint/peer", "router/amqp"},
	"waypoint/shard":  {"storage"},
	"waypoint/leader": {"waypoint/shard", "waypoint/peer", "raft", "storage", "router/amqp"},
	"waypoint/meta":   {"waypoint/peer", "raft", "storage", "router/amqp"},
	"cmd":             {"router", "waypoint", "raft", "storage", "test/check"},
	"test/check":      {},
	"test":            {"cmd", "router", "waypoint", "raft", "storage"},
}

// doors says in which part alone a library may be imported, outside of tests.
var doors = map[string][]string{
	"github.com/cockroachdb/pebble":  {"storage"},
	"github.com/hashicorp/raft":      {"raft"},
	"github.com/hashicorp/go-hclog":  {"raft"},
	"github.com/Azure/go-amqp":       {"cmd", "test"},
	"github.com/spf13/cobra":         {"cmd"},
	"github.com/goccy/go-yaml":       {"cmd"},
	"github.com/posthouse/posthouse": nil, // see may
}

func TestImportsRunOneWay(t *testing.T) {
	files := 0
	walk(t, func(file string, imports []string) {
		files++
		part := owner(file)
		if part == "" {
			t.Errorf("%s lies in no part of the house", file)
			return
		}
		for _, path := range imports {
			if inside, ok := strings.CutPrefix(path, module); ok {
				checkArrow(t, file, part, inside)
			} else {
				checkDoor(t, file, part, path)
			}
		}
	})
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
}

func checkArrow(t *testing.T, file, part, target string) {
	if under(target, part) && owner(target+"/x.go") == part {
		return
	}
	for _, allowed := range may[part] {
		if under(target, allowed) {
			return
		}
	}
	// A part may import the parts inside it.
	if under(target, part) {
		return
	}
	t.Errorf("%s (%s) must not import %s", file, part, target)
}

func checkDoor(t *testing.T, file, part, path string) {
	if strings.Contains(strings.SplitN(path, "/", 2)[0], ".") && part == "router/amqp" {
		t.Errorf("%s must not import %s: router/amqp is standard library only", file, path)
	}
	for library, parts := range doors {
		if !under(path, library) || parts == nil {
			continue
		}
		if !slices.ContainsFunc(parts, func(p string) bool { return under(part, p) }) {
			t.Errorf("%s must not import %s: its door is %s", file, path, strings.Join(parts, ", "))
		}
	}
}

// The top level has only the folders that were agreed on.
func TestTopLevel(t *testing.T) {
	want := []string{"cmd", "deploy", "raft", "router", "storage", "test", "waypoint"}
	entries, err := os.ReadDir(root())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && e.Name() != "posthouse-data" && !slices.Contains(want, e.Name()) {
			t.Errorf("folder %s at the top level", e.Name())
		}
	}
}

func owner(file string) string {
	best := ""
	for part := range may {
		if under(file, part) && len(part) > len(best) {
			best = part
		}
	}
	return best
}

func under(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }

func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

func walk(t *testing.T, visit func(file string, imports []string)) {
	t.Helper()
	err := filepath.WalkDir(root(), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root() || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, i := range f.Imports {
			imports = append(imports, strings.Trim(i.Path.Value, `"`))
		}
		relative, err := filepath.Rel(root(), path)
		visit(relative, imports)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
