package agent

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse/posthouse/waypoint/peer"
)

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	run(t, Config{Registerer: registry}, func(t *testing.T, w *world) {
		w.meta.captures["a"] = true
		w.leased()
		l := w.shard.lead("b", 1)
		l.publish = func(_ uint64, item *peer.PublishItem) fate {
			return map[string]fate{"no": refuse, "nobody": noView, "lost": lost}[string(item.Payload)]
		}
		w.subscribe(request())
		r := newReceipts()
		for _, name := range []string{"yes", "also", "no", "nobody", "lost"} {
			w.publish(r, name)
		}
		synctest.Wait()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += fmt.Sprintf("{%s=%s}", l.GetName(), l.GetValue())
				}
				got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		for name, want := range map[string]float64{
			"captures": 1, "isolated": 0, "epoch": 1, "held_bytes": 0, "let_through_total": 0,
			"lane_unanswered{shard=1}": 1, "lane_full{shard=1}": 0, "links{shard=1}": 1, "shard_leader_known{shard=1}": 1,
			"publish_answers_total{answer=kept}": 2, "publish_answers_total{answer=no-view}": 1, "publish_answers_total{answer=unknown}": 0,
			"publish_refused_total{reason=limit}": 1,
			"credit_stalls_total{reason=window}":  0, "credit_stalls_total{reason=disk}": 0, "credit_stalls_total{reason=memory}": 0,
			"shard_pressure{reason=disk}{shard=1}": 0, "shard_pressure{reason=memory}{shard=1}": 0,
		} {
			if v, ok := got["posthouse_agent_"+name]; !ok || v != want {
				t.Errorf("%s is %v, want %v", name, v, want)
			}
		}
		if v := got["posthouse_agent_lease_seconds"]; v <= 0 || v > 1.5 {
			t.Errorf("the lease lasts %v s", v)
		}
	})
	// Close takes them away.
	if families, err := registry.Gather(); err != nil || len(families) != 0 {
		t.Error(families, err)
	}
}
