package raft

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// groupCounts are what a group counts.
type groupCounts struct {
	snapshots       atomic.Int64
	elected         atomic.Int64
	turns           atomic.Int64
	overloaded      atomic.Int64
	cuts            atomic.Int64
	transfers       atomic.Int64
	transfersFailed atomic.Int64
	transferBytes   atomic.Int64
	installed       atomic.Int64
	void            atomic.Int64
}

// metrics collects from the groups when asked; only the latency of Apply is observed as it happens.
type metrics struct {
	node  *Node
	reg   prometheus.Registerer
	apply *prometheus.HistogramVec
	descs map[string]*prometheus.Desc
}

type groupMetric struct {
	name, help string
	kind       prometheus.ValueType
	value      func(g *Group, s Status) float64
}

var groupMetrics = []groupMetric{
	{"leader", "1 if this replica leads and is ready.", prometheus.GaugeValue, func(_ *Group, s Status) float64 { return flag(s.Leader) }},
	{"term", "Current Raft term.", prometheus.GaugeValue, func(_ *Group, s Status) float64 { return float64(s.Term) }},
	{"applied_index", "Last index applied here.", prometheus.GaugeValue, func(_ *Group, s Status) float64 { return float64(s.Applied) }},
	{"commit_index", "Last index known to be committed.", prometheus.GaugeValue, func(_ *Group, s Status) float64 { return float64(s.CommitIndex) }},
	{"last_index", "Last index in the log.", prometheus.GaugeValue, func(_ *Group, s Status) float64 { return float64(s.LastIndex) }},
	{"snapshot_index", "Index behind which the log may be cut.", prometheus.GaugeValue, func(_ *Group, s Status) float64 { return float64(s.SnapshotIndex) }},
	{"log_bytes", "Bytes in the log.", prometheus.GaugeValue, func(_ *Group, s Status) float64 { return float64(s.LogBytes) }},
	{"proposals", "Commands waiting and in flight.", prometheus.GaugeValue, func(_ *Group, s Status) float64 { return float64(s.Proposals) }},
	{"proposal_bytes", "Bytes of commands waiting and in flight.", prometheus.GaugeValue, func(_ *Group, s Status) float64 { return float64(s.ProposalBytes) }},
	{"cut", "1 while the watchdog has cut this replica's streams.", prometheus.GaugeValue, func(_ *Group, s Status) float64 { return flag(s.Cut) }},
	{"stopped", "1 if this replica does not take part (removed or failed).", prometheus.GaugeValue, func(g *Group, _ Status) float64 { return flag(g.Err() != nil) }},
	{"elected_total", "Elections won by this replica.", prometheus.CounterValue, func(g *Group, _ Status) float64 { return float64(g.counts.elected.Load()) }},
	{"turns_total", "Turns of leadership begun.", prometheus.CounterValue, func(g *Group, _ Status) float64 { return float64(g.counts.turns.Load()) }},
	{"void_total", "Commands applied as void.", prometheus.CounterValue, func(g *Group, _ Status) float64 { return float64(g.counts.void.Load()) }},
	{"overloaded_total", "Commands refused because too many were waiting.", prometheus.CounterValue, func(g *Group, _ Status) float64 { return float64(g.counts.overloaded.Load()) }},
	{"watchdog_cuts_total", "Times that the watchdog cut the streams.", prometheus.CounterValue, func(g *Group, _ Status) float64 { return float64(g.counts.cuts.Load()) }},
	{"snapshots_total", "Snapshot records written.", prometheus.CounterValue, func(g *Group, _ Status) float64 { return float64(g.counts.snapshots.Load()) }},
	{"transfers_total", "Transfers of the state begun or resumed.", prometheus.CounterValue, func(g *Group, _ Status) float64 { return float64(g.counts.transfers.Load()) }},
	{"transfers_failed_total", "Transfers of the state broken off.", prometheus.CounterValue, func(g *Group, _ Status) float64 { return float64(g.counts.transfersFailed.Load()) }},
	{"transfer_bytes_total", "Bytes of state sent to other replicas.", prometheus.CounterValue, func(g *Group, _ Status) float64 { return float64(g.counts.transferBytes.Load()) }},
	{"installed_total", "States taken from a leader and put in place.", prometheus.CounterValue, func(g *Group, _ Status) float64 { return float64(g.counts.installed.Load()) }},
}

func newMetrics(n *Node, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{node: n, reg: reg, descs: map[string]*prometheus.Desc{}}
	m.apply = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "posthouse_raft_apply_seconds", Help: "Time to apply one entry.", Buckets: prometheus.ExponentialBuckets(1e-5, 4, 10),
	}, []string{"group"})
	for _, gm := range groupMetrics {
		m.descs[gm.name] = prometheus.NewDesc("posthouse_raft_"+gm.name, gm.help, []string{"group"}, nil)
	}
	m.descs["replica_lag"] = prometheus.NewDesc("posthouse_raft_replica_lag_entries",
		"Entries that a replica's log is behind its leader's, as the leader knows.", []string{"group", "node"}, nil)
	m.descs["replica_live"] = prometheus.NewDesc("posthouse_raft_replica_live",
		"1 if the leader hears the replica.", []string{"group", "node"}, nil)
	if reg != nil {
		if err := reg.Register(m); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) close() {
	if m.reg != nil {
		m.reg.Unregister(m)
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	m.apply.Describe(ch)
	for _, d := range m.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.apply.Collect(ch)
	for _, g := range m.node.allGroups() {
		label := strconv.FormatUint(uint64(g.id), 10)
		s := g.Status()
		for _, gm := range groupMetrics {
			ch <- prometheus.MustNewConstMetric(m.descs[gm.name], gm.kind, gm.value(g, s), label)
		}
		if !s.Leader {
			continue
		}
		for _, r := range g.Reports() {
			lag := float64(s.LastIndex - min(s.LastIndex, r.LastIndex))
			ch <- prometheus.MustNewConstMetric(m.descs["replica_lag"], prometheus.GaugeValue, lag, label, r.Node)
			ch <- prometheus.MustNewConstMetric(m.descs["replica_live"], prometheus.GaugeValue, flag(r.Live), label, r.Node)
		}
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// observeApply counts one applied entry.
func (g *Group) observeApply(took time.Duration, void bool) {
	g.applyTime.Observe(took.Seconds())
	if void {
		g.counts.void.Add(1)
	}
}
