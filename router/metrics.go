package router

import "github.com/prometheus/client_golang/prometheus"

// Causes of dropped copies.
const (
	dropWindow = "window" // too much waits for this receiver
	dropTime   = "time"   // it waited for too long
	dropSize   = "size"   // larger than the receiver takes
	dropMemory = "memory" // the node has no memory left for waiting
)

type metrics struct {
	connections  prometheus.Gauge
	durableLinks prometheus.Gauge
	published    prometheus.Counter
	direct       prometheus.Counter
	durable      prometheus.Counter
	withheld     prometheus.Counter
	narrowed     *prometheus.CounterVec
	memory       prometheus.Gauge
	unrouted     prometheus.Counter
	unknown      prometheus.Counter
	dropped      *prometheus.CounterVec
	outcomes     [accepted + 1]prometheus.Counter
}

func newMetrics(r prometheus.Registerer, budget func() float64) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "posthouse", Subsystem: "router", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "posthouse", Subsystem: "router", Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "posthouse", Subsystem: "router", Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		connections:  gauge("connections", "Connections of clients."),
		durableLinks: gauge("durable_links", "Links of clients on durable subscriptions."),
		published:    counter("published_total", "Messages that clients published here."),
		direct:       counter("delivered_direct_total", "Copies handed to direct subscribers and to other nodes."),
		durable:      counter("delivered_durable_total", "Messages handed to durable subscribers."),
		withheld:     counter("credit_stalls_total", "Times that a publisher had to wait for the store."),
		narrowed:     vec("credit_narrowed_total", "Times that a publisher's link lost credit because room was short, by reason.", "reason"),
		memory:       gauge("memory_pressure", "1 while all publishers have less credit because payloads fill the memory, 2 while what is to be kept is refused."),
		unrouted:     counter("unrouted_total", "Messages that nobody wanted."),
		unknown:      counter("outcome_unknown_total", "Messages whose publisher could not be told what became of them."),
		dropped:      vec("dropped_total", "Copies dropped for one subscriber, by cause.", "cause"),
	}
	outcomes := vec("outcomes_total", "Answers to publishers.", "outcome")
	for v, name := range map[verdict]string{nothing: "none", released: "released", modified: "modified", rejected: "rejected", accepted: "accepted"} {
		m.outcomes[v] = outcomes.WithLabelValues(name)
	}
	for _, reason := range []string{"disk", "memory"} {
		m.narrowed.WithLabelValues(reason)
	}
	for _, cause := range []string{dropWindow, dropTime, dropSize, dropMemory} {
		m.dropped.WithLabelValues(cause)
	}
	if r != nil {
		memory := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "posthouse", Subsystem: "router", Name: "payload_bytes", Help: "Memory of payloads in this node's connections."}, budget)
		r.MustRegister(m.connections, m.durableLinks, m.published, m.direct, m.durable, m.withheld, m.narrowed, m.memory, m.unrouted, m.unknown, m.dropped, outcomes, memory)
	}
	return m
}
