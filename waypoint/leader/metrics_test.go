package leader

import (
	"fmt"
	"testing"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/prometheus/client_golang/prometheus"
)

// metric sums a metric's series, or those with one label's value.
func metric(t *testing.T, from prometheus.Gatherer, name, value string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, f := range families {
		if f.GetName() != "posthouse_leader_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			is := value == ""
			for _, l := range m.GetLabel() {
				is = is || l.GetValue() == value
			}
			if is {
				found = true
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum()
			}
		}
	}
	if !found {
		t.Fatalf("no metric %s{%s}", name, value)
	}
	return sum
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	inWorld(t, func(c *Config) { c.Registerer = registry }, func(t *testing.T, w *world) {
		sub := w.start("news", peer.Limits{MaxMessages: 5, MaxInFlight: 5})
		w.start("full", peer.Limits{MaxMessages: 1, Overflow: peer.OverflowReject})
		p, c := w.agent("r1", 1), w.agent("r2", 1)
		c.attach(sub, 1, 3)
		w.raft.set(func(f *fakeRaft) { f.hold = true })
		p.publishN("news", 7, 10)
		time.Sleep(2 * time.Second)
		w.raft.release()
		p.publish("full", "1", "2")
		p.publish("nobody", "3")
		p.say(&peer.Publish{Items: []peer.PublishItem{{N: 11, Void: true}}})
		d := wantSeqs(t, c, "3 4 5")
		c.outcome(sub, 1, peer.Released, 0, d[1])
		c.accept(sub, 1, d[0])
		c.say(&peer.Credit{Sub: sub, Gen: 1, Limit: 4})
		time.Sleep(2 * tickEvery)
		for _, x := range []struct {
			name, value string
			want        float64
		}{
			{"publishes_total", "kept", 8}, {"publishes_total", "refused", 1}, {"publishes_total", "no-view", 1}, {"publishes_total", "void", 1},
			{"deliveries_total", "", 4}, {"redeliveries_total", "", 1}, {"outcomes_total", "released", 1}, {"outcomes_total", "accepted", 1},
			{"given_up_total", "max-messages", 2}, {"backlog_messages", "", 5}, {"lanes", "", 2}, {"sessions", "", 2}, {"attached", "", 1},
			{"in_flight", "", 2}, {"leading", "", 1}, {"turn_seconds", "", 2}, {"turn_messages", "", 11}, {"faults_total", "", 0},
		} {
			if got := metric(t, registry, x.name, x.value); got != x.want {
				t.Errorf("%s{%s} is %v, want %v", x.name, x.value, got, x.want)
			}
		}
		w.depose()
		if got := metric(t, registry, "backlog_messages", ""); got != 0 {
			t.Errorf("who does not lead tells of a backlog of %v", got)
		}
	})
	if families, err := registry.Gather(); err != nil || len(families) > 0 {
		t.Errorf("closed, and %d metrics are registered (%v)", len(families), err)
	}
}

// TestConfig names every field that is wrong.
func TestConfig(t *testing.T) {
	err := Config{Shard: 0, CommandBytes: -1, LaneIdle: -1}.Validate()
	want := "Shard 0 is meta's group\nMachine is missing\nRaft is missing\nServe is missing\na number of bytes is negative\nan interval is negative"
	if fmt.Sprint(err) != want {
		t.Fatalf("%v", err)
	}
	if _, err := New(Config{}); err == nil {
		t.Fatal("an empty configuration is taken")
	}
}
