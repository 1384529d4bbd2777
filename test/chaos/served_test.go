package chaos

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posthouse/posthouse/cmd/posthouse/cli"
	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

// A bit is flipped in nearly each message on a stopped node's disk, and the node looks for no damage by itself. It is made to lead: it
// ends with a word on the damage as soon as it has to read what is damaged, and serves none of it. Emptied, it is a new replica.
func TestG10DamageIsNeverServed(t *testing.T) {
	s := begin(t)
	archive := s.Name("archive")
	nodes := s.Cluster.Nodes
	victim, others := nodes[0], nodes[1:]
	away := s.Subscribe("away", others[0], actor.Subscription{Address: archive, Limits: roomy, MayBreak: others})
	away.Leave()
	s.Publish("quiet", others[1], archive, actor.Load{Window: 100, Size: 5000, Count: 1000}).Wait()
	whole(s, victim)
	if err := victim.Terminate(); err != nil { // what it has applied is in tables then
		t.Fatal(err)
	}
	before := replicaID(t, victim)
	riddle(t, victim, "state/*.sst", "quiet")
	said := lines(victim)
	victim.Setenv(t, "POSTHOUSE_DISK_SCRUB", "0s")
	victim.Restart()
	for tries := 0; victim.Running(); tries++ {
		if tries == 20 {
			t.Fatalf("node %s does not lead, and does not end", victim.Name)
		}
		calm(s, victim)
		leader := s.Cluster.Leader(s.MustShow(others[0], away.Name()).Shard, actor.Patience)
		if leader == victim {
			s.Step("node %s leads; the subscriber comes", victim.Name)
			away.Attach(others[0])
			break
		}
		leader.Kill()
		s.Eventually(func() bool { return !victim.Running() || s.Cluster.Led(0) }, func() string { return "no leader" })
		leader.Restart()
	}
	code := exitCode(victim.WaitExit(actor.Patience))
	s.Step("node %s has ended with exit code %d: %s", victim.Name, code, told(said()))
	if code != cli.ExitFatal {
		t.Errorf("exit code %d, not %d", code, cli.ExitFatal)
	}
	for _, word := range []string{"damaged", filepath.Join(victim.Dir, "state")} {
		if !strings.Contains(said(), word) {
			t.Errorf("the node did not say %q", word)
		}
	}
	b := &backlogged{Story: s}
	b.empty(victim, before)
	away.Attach(victim)
	away.CatchUp()
	s.End()
}

// calm waits until a node is whole, or has ended.
func calm(s *actor.Story, n *proc.Node) {
	s.T.Helper()
	var why string
	s.Eventually(func() bool {
		why = missing(s.Cluster, n)
		return !n.Running() || why == ""
	}, func() string { return "node " + n.Name + " neither ends nor is whole: " + why })
}

// riddle flips a bit in the messages of a publisher that it finds in files of a kind, and in nothing else.
func riddle(t testing.TB, n *proc.Node, pattern, publisher string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(n.Dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	flipped := 0
	for _, path := range found {
		b, err := os.ReadFile(path)
		var places []int
		for i := 0; ; {
			at := bytes.Index(b[i:], []byte(publisher+"/"))
			if i += at + inBody; at < 0 || i >= len(b) {
				break
			}
			places = append(places, i)
		}
		for i := shared; i < len(places)-shared; i++ {
			b[places[i]] ^= 0x10
			flipped++
		}
		if err := errors.Join(err, os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if flipped == 0 {
		t.Fatalf("no message of %s is in %s of node %s", publisher, pattern, n.Name)
	}
	t.Logf("%d bits are flipped", flipped)
}

const (
	inBody = 2000 // a place in a message's body, as far from its id
	shared = 20   // messages at both ends of a file that may be beside something else in a block, which the start reads
)
