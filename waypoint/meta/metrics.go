package meta

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// metrics of one node's part in meta. What replicas know alike is read when it is asked for; what only the leader knows is
// zero elsewhere.
type metrics struct {
	registerer prometheus.Registerer
	list       []prometheus.Collector

	activation prometheus.Histogram
	lost       prometheus.Counter
	leases     prometheus.Counter
	withheld   prometheus.Counter
	notices    prometheus.Counter
}

func newMetrics(r prometheus.Registerer, m *Machine) (*metrics, error) {
	const namespace, subsystem = "posthouse", "meta"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	gauge := func(name, help string, labels prometheus.Labels, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, ConstLabels: labels}, f)
	}
	met := &metrics{
		registerer: r,
		activation: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "activation_seconds",
			Help:    "Time from a subscription's first entry to the one that made it active, on the leader that saw both.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 13),
		}),
		lost:     counter("routers_lost_total", "Routers whose lease ran out, as committed by this node."),
		leases:   counter("leases_total", "Leases granted by this node."),
		withheld: counter("leases_withheld_total", "Renewals that got no lease, because the router had not confirmed an epoch in time."),
		notices:  counter("notices_total", "Links told that they are over."),
	}
	met.list = []prometheus.Collector{met.activation, met.lost, met.leases, met.withheld, met.notices,
		gauge("epoch", "Index of the last entry that changed captures or policy.", nil, func() float64 { return float64(m.Epoch()) }),
		gauge("captures", "Addresses that are captured.", nil, func() float64 { return float64(m.captureCount()) }),
		gauge("isolated_messages", "Messages that routers have reported to have let through without a lease.", nil, func() float64 {
			n, _ := m.Isolated()
			return float64(n)
		}),
		gauge("gap_messages", "Messages that present subscriptions may have missed at most, by cause, summed over subscriptions.",
			prometheus.Labels{"cause": peer.CauseIsolated.String()}, func() float64 {
				n, _ := m.missed()
				return float64(n)
			}),
		gauge("gap_unknown", "Subscriptions that a router may have let messages past which has not reported yet.", nil, func() float64 {
			_, n := m.missed()
			return float64(n)
		}),
	}
	for _, s := range []State{Creating, Active, Removing} {
		met.list = append(met.list, gauge("subscriptions", "Durable subscriptions by state.", prometheus.Labels{"state": s.String()},
			func() float64 { return float64(m.Counts()[s]) }))
	}
	if r == nil {
		return met, nil
	}
	var errs []error
	for _, c := range met.list {
		errs = append(errs, r.Register(c))
	}
	return met, errors.Join(errs...)
}

func (met *metrics) close() {
	if met.registerer == nil {
		return
	}
	for _, c := range met.list {
		met.registerer.Unregister(c)
	}
}
