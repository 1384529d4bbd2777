package agent

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// counters count what has happened since the start.
type counters struct {
	kept, noView, unknown atomic.Uint64
	refused               [reasons]atomic.Uint64 // by reason
	stalled               [reasons]atomic.Uint64 // times that a lane was full, by why its window was narrow; 0: it was not
	repeated              atomic.Uint64          // deliveries that were held already
}

// reasons is how many are counted apart; any above are counted as the last.
const reasons = 16

func (c *counters) answered(a *answered) {
	switch a.answer.Kind {
	case KeptAnswer:
		c.kept.Add(1)
	case NoViewAnswer:
		c.noView.Add(1)
	case UnknownAnswer:
		c.unknown.Add(1)
	case RefusedAnswer:
		c.refused[min(int(a.reason), len(c.refused)-1)].Add(1)
	}
}

// collector gives the agent's metrics to Prometheus, read when they are asked for.
type collector struct{ a *Agent }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("posthouse_agent_"+name, help, labels, nil)
}

var (
	descAnswers    = desc("publish_answers_total", "Captured publishes by what became of them.", "answer")
	descRefused    = desc("publish_refused_total", "Captured publishes that were refused, by reason.", "reason")
	descUnanswered = desc("lane_unanswered", "Captured publishes that wait for their answer.", "shard")
	descBytes      = desc("lane_bytes", "Bytes of captured publishes that wait for their answer.", "shard")
	descStalls     = desc("credit_stalls_total", "Times that publishes to a shard began to be withheld, by why: window (too many wait), disk, memory (less may wait).", "reason")
	descPressure   = desc("shard_pressure", "1 while publishers of the shard have less credit, 2 while they are refused, by reason.", "shard", "reason")
	descFull       = desc("lane_full", "1 while publishes to the shard are withheld, because too many wait.", "shard")
	descLeader     = desc("shard_leader_known", "1 while there is a session with the shard's leader.", "shard")
	descLinks      = desc("links", "Links of durable subscriptions.", "shard")
	descRepeated   = desc("deliveries_repeated_total", "Deliveries that were held already, and dropped.")
	descHeld       = desc("held_bytes", "Bytes of deliveries in the router's memory.")
	descLease      = desc("lease_seconds", "How long the lease still lasts; 0 without one.")
	descIsolated   = desc("isolated", "1 while this router has no lease.")
	descLet        = desc("let_through_total", "Direct publishes let through without a lease.")
	descCaptures   = desc("captures", "Addresses known as captured.")
	descEpoch      = desc("epoch", "The epoch of the table of captures.")
)

// Describe tells which metrics there are.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descAnswers, descRefused, descUnanswered, descBytes, descStalls, descPressure, descFull, descLeader, descLinks, descRepeated,
		descHeld, descLease, descIsolated, descLet, descCaptures, descEpoch} {
		ch <- d
	}
}

// Collect reads them.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	n := &c.a.counters
	count(descAnswers, n.kept.Load(), KeptAnswer.String())
	count(descAnswers, n.noView.Load(), NoViewAnswer.String())
	count(descAnswers, n.unknown.Load(), UnknownAnswer.String())
	for i := range n.refused {
		if v := n.refused[i].Load(); v > 0 {
			count(descRefused, v, peer.Reason(i).String())
		}
	}
	for _, r := range []peer.Reason{0, peer.ReasonDisk, peer.ReasonMemory} {
		reason := "window"
		if r != 0 {
			reason = r.String()
		}
		count(descStalls, n.stalled[r].Load(), reason)
	}
	count(descRepeated, n.repeated.Load())
	st := c.a.Status()
	for _, s := range st.Shards {
		id := strconv.FormatUint(uint64(s.Shard), 10)
		gauge(descUnanswered, float64(s.Unanswered), id)
		gauge(descBytes, float64(s.Bytes), id)
		for _, r := range []peer.Reason{peer.ReasonDisk, peer.ReasonMemory} {
			level := peer.LevelOK
			if s.Pressure.Reason == r {
				level = s.Pressure.Level
			}
			gauge(descPressure, float64(level), id, r.String())
		}
		gauge(descFull, oneIf(s.Full), id)
		gauge(descLeader, oneIf(s.Leader != ""), id)
		gauge(descLinks, float64(s.Links), id)
	}
	gauge(descHeld, float64(st.HeldBytes))
	gauge(descLease, st.Lease.Seconds())
	gauge(descIsolated, oneIf(st.Isolated))
	count(descLet, st.LetThrough)
	gauge(descCaptures, float64(st.Captures))
	gauge(descEpoch, float64(st.Epoch))
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
