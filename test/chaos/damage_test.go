package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/cli"
	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// classes are the kinds of files in a data directory: patterns of names.
var classes = []struct{ name, pattern string }{
	{"log wal", "log/*.log"}, {"log table", "log/*.sst"}, {"log manifest", "log/MANIFEST-*"},
	{"state table", "state/*.sst"}, {"state manifest", "state/MANIFEST-*"}, {"identity", "identity"}, {"marks", "marks"},
}

// victimOf is the file of a class that most depends on: the manifest in use, else the largest.
func victimOf(t testing.TB, n *proc.Node, pattern string) string {
	t.Helper()
	if dir, ok := strings.CutSuffix(pattern, "/MANIFEST-*"); ok {
		return manifestOf(t, filepath.Join(n.Dir, dir))
	}
	found, err := filepath.Glob(filepath.Join(n.Dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	best, most := "", int64(0)
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.Size() > most {
			best, most = path, info.Size()
		}
	}
	if best == "" {
		t.Fatalf("node %s has no file like %s", n.Name, pattern)
	}
	return best
}

// manifestOf is the manifest that a database uses: its marker is the one with the highest number, and names it.
func manifestOf(t testing.TB, dir string) string {
	t.Helper()
	markers, err := filepath.Glob(filepath.Join(dir, "marker.manifest.*"))
	if err != nil || len(markers) == 0 {
		t.Fatalf("%s has no manifest: %v", dir, err)
	}
	_, name, _ := strings.Cut(slices.Max(markers), "MANIFEST-")
	return filepath.Join(dir, "MANIFEST-"+name)
}

// damages are what disks and people do to files.
var damages = []struct {
	name string
	do   func(path string, b []byte) error
}{
	{"a bit flipped", func(path string, b []byte) error {
		b[len(b)/3] ^= 0x10
		return os.WriteFile(path, b, 0o600)
	}},
	{"cut", func(path string, b []byte) error { return os.Truncate(path, int64(len(b)/2)) }},
	{"deleted", func(path string, _ []byte) error { return os.Remove(path) }},
}

// replicaID is the random name of a data directory.
func replicaID(t testing.TB, n *proc.Node) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.Dir, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	var id struct{ Replica string }
	line, _, _ := strings.Cut(string(text), "\n")
	if err := json.Unmarshal([]byte(line), &id); err != nil || id.Replica == "" {
		t.Fatalf("identity of node %s: %v: %s", n.Name, err, text)
	}
	return id.Replica
}

// backlogged is a shop that publishes to a subscription, of whose messages a part is read and a part stays on the nodes.
type backlogged struct {
	*actor.Story
	reader, away *actor.Subscriber
	shop, quiet  *actor.Publisher
}

// backlog starts publishers at one node, and a subscriber at another; one more subscription is away.
func backlog(s *actor.Story, shop, reader *proc.Node) *backlogged {
	s.T.Helper()
	orders, archive := s.Name("orders"), s.Name("archive")
	b := &backlogged{Story: s}
	b.reader = s.Subscribe("reader", reader, actor.Subscription{Address: orders, Limits: roomy, MayBreak: []*proc.Node{reader, shop}})
	b.away = s.Subscribe("away", reader, actor.Subscription{Address: archive, Limits: roomy, MayBreak: s.Cluster.Nodes})
	b.away.Leave()
	b.quiet = s.Publish("quiet", shop, archive, actor.Load{Window: 50, Size: 5000, Every: 2 * time.Millisecond})
	b.shop = s.Publish("shop", shop, orders, actor.Load{Window: 50, Size: 500, Every: 2 * time.Millisecond})
	b.shop.More(200)
	b.quiet.More(200)
	return b
}

// end stops publishing, takes away a node that always was whole, and reads all on what is left: what a replica
// that came back lacks is missed now.
func (b *backlogged) end(returned, without *proc.Node) {
	b.T.Helper()
	b.shop.Stop()
	b.quiet.Stop()
	b.reader.CatchUp()
	whole(b.Story, returned)
	b.Step("node %s is killed; node %s is needed now", without.Name, returned.Name)
	without.Kill()
	b.away.Attach(returned)
	b.away.CatchUp()
	b.End()
}

// empty puts an empty directory in the place of a stopped node's data, and starts it: a new replica under the old name.
func (b *backlogged) empty(n *proc.Node, before string) {
	b.T.Helper()
	if err := os.RemoveAll(n.Dir); err != nil {
		b.T.Fatal(err)
	}
	n.Restart()
	b.Cluster.WaitReady(actor.Patience)
	whole(b.Story, n)
	if replicaID(b.T, n) == before {
		b.T.Errorf("node %s has come back as the replica that it was, without its data", n.Name)
	}
}

// A file of a stopped node is damaged. The node does not start, and names what is wrong and what to do; or it repairs itself
// from the others. One that refuses is emptied and comes back as a new replica, filled by the others. Nothing that was accepted
// is lost, and no client at another node notices.
func TestG10DamagedFiles(t *testing.T) {
	for i, class := range classes {
		for j, damage := range damages {
			if !*long && i%len(damages) != j {
				continue
			}
			t.Run(class.name+" "+damage.name, func(t *testing.T) {
				s := begin(t)
				victim := s.Cluster.Nodes[i%3]
				others := s.Cluster.Others(victim)
				b := backlog(s, others[0], others[1])
				victim.Kill()
				path := victimOf(t, victim, class.pattern)
				text, err := os.ReadFile(path)
				before := replicaID(t, victim)
				if err := errors.Join(err, damage.do(path, text)); err != nil {
					t.Fatal(err)
				}
				s.Step("node %s, %s: %s", victim.Name, filepath.Base(path), damage.name)
				said := lines(victim)
				victim.Restart()
				if b.refuses(victim, said, path) {
					b.shop.More(100)
					b.empty(victim, before)
				}
				b.shop.More(100)
				whole(s, victim)
				b.end(victim, others[0])
			})
		}
	}
}

// refuses waits until a node is whole and has read all its tables, or has ended with a word on what is damaged and what to do.
func (b *backlogged) refuses(n *proc.Node, said func() string, path string) bool {
	b.T.Helper()
	var why string
	b.Eventually(func() bool {
		if !n.Running() {
			return true
		}
		if why = missing(b.Cluster, n); why == "" && !strings.Contains(said(), "all tables were read and are sound") {
			why = "it has not read all tables"
		}
		return why == ""
	}, func() string { return fmt.Sprintf("node %s neither ends nor is whole: %s", n.Name, why) })
	if n.Running() {
		b.Step("node %s is whole: %s", n.Name, told(said()))
		return false
	}
	code := exitCode(n.WaitExit(time.Second))
	b.Step("node %s refuses with exit code %d: %s", n.Name, code, told(said()))
	if code != cli.ExitFatal {
		b.T.Errorf("exit code %d, not %d", code, cli.ExitFatal)
	}
	for _, words := range [][]string{{path, filepath.Dir(path), "data directory"}, {"is damaged"}, {"start again", "start with an empty one"}} {
		if !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(said(), w) }) {
			b.T.Errorf("the node did not say %q", words)
		}
	}
	return true
}

// told is what of a log is about damage.
func told(log string) string {
	var found []string
	for line := range strings.Lines(log) {
		for _, word := range []string{"damaged", "corrupt", "missing", "start node"} {
			if strings.Contains(line, word) {
				found = append(found, strings.TrimSpace(line))
				break
			}
		}
	}
	return strings.Join(found[:min(len(found), 5)], "\n    ")
}

// An empty data directory under an old name: a new replica joins, is filled by the others, and counts as the old one did.
func TestG10EmptyDirectory(t *testing.T) {
	s := begin(t)
	victim := s.Cluster.Leader(0, actor.Patience)
	others := s.Cluster.Others(victim)
	b := backlog(s, others[0], others[1])
	before := replicaID(t, victim)
	victim.Kill()
	b.shop.More(100)
	b.empty(victim, before)
	s.Step("node %s is a new replica", victim.Name)
	b.shop.More(100)
	b.end(victim, others[1])
}
