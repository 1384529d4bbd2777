package chaos

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/posthouse/posthouse/test/actor"
	"github.com/posthouse/posthouse/test/proc"
)

var spaceMiB = flag.Int64("space", 512, "MiB that TestSpaceIsGivenBack publishes")

// What is published and confirmed leaves the disks: however much it is, the log stays short and the state small. A node that
// was away from the start is not waited for with the log: it catches up by a snapshot, under load, though it is killed twice
// while it takes the state.
func TestSpaceIsGivenBack(t *testing.T) {
	cluster.End() // what other tests have left there takes space
	s := actor.Begin(t, proc.Start(t, proc.Options{Tags: cluster.Options.Tags, Env: cluster.Options.Env}))
	c, away := s.Cluster, s.Cluster.Nodes[2]
	others := c.Others(away)
	away.Kill()
	v := &volume{Story: s, nodes: others}
	for i, address := range s.AddressPerShard("orders", 3)[:v.shards()] {
		reader := s.Subscribe(fmt.Sprint("reader", i), others[0], actor.Subscription{Address: address, Limits: roomy})
		v.readers = append(v.readers, reader)
		v.addresses = append(v.addresses, address)
	}
	sizes := watchSizes(c.Nodes)
	v.until(*spaceMiB << 20 / 2)
	v.short(others)

	var loads []*actor.Publisher
	for i, address := range v.addresses {
		loads = append(loads, s.Publish(fmt.Sprint("load", i), others[1], address, actor.Load{Window: 100, Size: volumeBody, Every: time.Duration(v.shards()) * 5 * time.Millisecond}))
	}
	driveAtStart(t, away, "slow class=staging op=write by=200ms") // or it would have it all before it can be killed
	for range 2 {
		said := lines(away)
		away.Restart()
		says(s, said, stateComing)
		loads[0].More(10)
		away.Kill()
		s.Step("node %s is killed while it takes the state", away.Name)
		if strings.Count(said(), stateComing) <= strings.Count(said(), stateTaken) {
			t.Error("it had the state of each shard that it was taking")
		}
	}
	driveAtStart(t, away, "clear")
	said := lines(away)
	away.Restart()
	says(s, said, stateTaken)
	s.Step("node %s has the state", away.Name)
	whole(s, away)
	s.Step("node %s is whole", away.Name)
	for i := range loads {
		loads[i].Stop()
		v.readers[i].CatchUp()
	}
	v.until(*spaceMiB << 20)
	whole(s, away)
	v.short(c.Nodes)

	log, state := sizes()
	s.Step("the log took up to %d MiB, the state up to %d MiB, on each node", log>>20, state>>20)
	if bound := max(*spaceMiB/10, logFloor+int64(v.shards()-1)*logMore); log>>20 > bound {
		t.Errorf("the log took %d MiB; the bound for %d MiB is %d", log>>20, *spaceMiB, bound)
	}
	if state>>20 > stateBound {
		t.Errorf("the state took %d MiB; the bound is %d", state>>20, stateBound)
	}
	s.End()
}

const (
	stateComing = "taking the state from the leader"
	stateTaken  = "the state from the leader is in use"
	// A shard's log holds 128 MiB, half of it to be cut next; twice that is on the disk until the database has thrown away its
	// own log and old tables; and while a replica is seeded the log is kept for it. Several shards do not do all that at once.
	logHolds   = 128 + 32
	logFloor   = 640
	logMore    = 192 // each shard more
	stateBound = 100
	volumeBody = 50_000
)

// volume publishes a lot, a little at a time, each of which is confirmed before the next.
type volume struct {
	*actor.Story
	nodes     []*proc.Node
	addresses []string            // one a shard
	readers   []*actor.Subscriber // one an address
	rounds    int
}

// shards is how many are written to: only a lot is more than the logs of all hold anyway.
func (v *volume) shards() int {
	if *spaceMiB < 2048 {
		return 1
	}
	return 3
}

// until publishes until there have been so many bytes.
func (v *volume) until(bytes int64) {
	v.T.Helper()
	const some = 640
	for ; int64(v.rounds)*some*volumeBody < bytes; v.rounds++ {
		i := v.rounds % len(v.readers)
		got := v.readers[i].Page.Len()
		v.Publish(fmt.Sprint("shop", v.rounds), v.nodes[v.rounds%2], v.addresses[i], actor.Load{Window: 200, Size: volumeBody, Count: some}).Wait()
		v.readers[i].Until(got + some)
		if v.rounds%max(int(*spaceMiB)/128, 1) == 0 {
			for _, n := range v.nodes {
				v.Step("%d MiB; node %s: log %d MiB, state %d MiB, resident %d MiB", v.rounds*some*volumeBody>>20, n.Name, n.DiskUsage("log")>>20, n.DiskUsage("state")>>20, n.RSS()>>20)
			}
		}
	}
}

// short waits until the nodes' logs have been cut.
func (v *volume) short(nodes []*proc.Node) {
	v.T.Helper()
	for _, reader := range v.readers {
		shard := v.MustShow(nodes[0], reader.Name()).Shard
		v.Eventually(func() bool { return logBytes(v.Story, nodes, shard)>>20 <= logHolds }, func() string {
			return fmt.Sprintf("the log of shard %d has %d MiB; it is to be cut before %d", shard, logBytes(v.Story, nodes, shard)>>20, logHolds)
		})
	}
}

// watchSizes looks at the nodes' disks until it is asked for the most that a node's log and state have taken.
func watchSizes(nodes []*proc.Node) (most func() (log, state int64)) {
	stop, done := make(chan struct{}), make(chan struct{})
	var log, state int64
	go func() {
		defer close(done)
		for {
			for _, n := range nodes {
				log, state = max(log, n.DiskUsage("log")), max(state, n.DiskUsage("state"))
			}
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() (int64, int64) {
		close(stop)
		<-done
		return log, state
	}
}
