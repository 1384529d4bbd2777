package leader

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/shard"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what a leader does. Labels are bounded: a shard's number, verdicts, outcomes, causes.
type metrics struct {
	l          *Leader
	leads      atomic.Bool
	status     atomic.Pointer[Status] // of the last tick: who scrapes waits for nobody
	registered []prometheus.Collector
	from       prometheus.Registerer

	publishes   *prometheus.CounterVec
	deliveries  prometheus.Counter
	repetitions prometheus.Counter
	outcomes    *prometheus.CounterVec
	given       *prometheus.CounterVec
	turnTime    prometheus.Histogram
	turnSize    prometheus.Histogram
	turnBytes   prometheus.Histogram
	overloads   prometheus.Counter
	faults      prometheus.Counter
	trimmed     prometheus.Counter
	pressure    prometheus.Gauge

	kept, noView, refused, voided, repeated prometheus.Counter // of publishes
}

func newMetrics(l *Leader) *metrics {
	labels := prometheus.Labels{"shard": strconv.FormatUint(uint64(l.cfg.Shard), 10)}
	name := func(s, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "posthouse", Subsystem: "leader", Name: s, Help: help, ConstLabels: labels}
	}
	counter := func(s, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(name(s, help)))
	}
	vec := func(s, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(name(s, help)), []string{label})
	}
	histogram := func(s, help string, start, factor float64, n int) prometheus.Histogram {
		o := name(s, help)
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: o.Namespace, Subsystem: o.Subsystem, Name: o.Name,
			Help: o.Help, ConstLabels: labels, Buckets: prometheus.ExponentialBuckets(start, factor, n)})
	}
	m := &metrics{
		l: l, from: l.cfg.Registerer,
		publishes:   vec("publishes_total", "Publishes decided, by verdict.", "verdict"),
		deliveries:  counter("deliveries_total", "Messages sent to subscribers' routers."),
		repetitions: counter("redeliveries_total", "... of these, flagged as perhaps seen before."),
		outcomes:    vec("outcomes_total", "Outcomes received from subscribers.", "outcome"),
		given:       vec("given_up_total", "Messages given up, by cause, summed over subscriptions.", "cause"),
		turnTime:    histogram("turn_seconds", "From proposing a command until it is applied.", 0.0005, 2, 14),
		turnSize:    histogram("turn_messages", "Publishes in one command.", 1, 4, 9),
		turnBytes:   histogram("turn_bytes", "Size of one command.", 256, 4, 8),
		overloads:   counter("overloads_total", "Commands that had to wait because raft took no more."),
		faults:      counter("faults_total", "Parts of commands that the state machine could not take."),
		trimmed:     counter("trimmed_bytes_total", "Bytes of messages deleted that nobody needs."),
		pressure: prometheus.NewGauge(prometheus.GaugeOpts(name("pressure",
			"1 while publishers have less credit, 2 while they are refused, for want of disk or memory."))),
	}
	m.status.Store(new(Status))
	m.kept, m.noView = m.publishes.WithLabelValues("kept"), m.publishes.WithLabelValues("no-view")
	m.refused, m.voided = m.publishes.WithLabelValues("refused"), m.publishes.WithLabelValues("void")
	m.repeated = m.publishes.WithLabelValues("repeated")
	gauge := func(s, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts(name(s, help)), func() float64 {
			if !m.leads.Load() {
				return 0
			}
			return f()
		})
	}
	backlog := func() (t shard.Totals) {
		for _, cur := range l.cfg.Machine.Cursors() {
			t = t.Add(cur.Backlog)
		}
		return t
	}
	m.register(
		m.publishes, m.deliveries, m.repetitions, m.outcomes, m.given, m.turnTime, m.turnSize, m.turnBytes, m.overloads, m.faults, m.trimmed, m.pressure,
		gauge("leading", "1 while this replica leads.", func() float64 { return 1 }),
		gauge("backlog_messages", "Backlogs of all subscriptions.", func() float64 { return float64(backlog().Messages) }),
		gauge("backlog_bytes", "Backlogs of all subscriptions.", func() float64 { return float64(backlog().Bytes) }),
		gauge("lanes", "Lanes of routers.", func() float64 { return float64(len(l.cfg.Machine.Lanes())) }),
		gauge("sessions", "Sessions with routers.", func() float64 { return float64(m.status.Load().Sessions) }),
		gauge("attached", "Subscriptions with a link.", func() float64 { return float64(m.status.Load().Attached) }),
		gauge("waiting_bytes", "Publishes that wait for a turn.", func() float64 { return float64(m.status.Load().WaitingBytes) }),
		gauge("in_flight", "Deliveries that routers hold.", func() float64 { return float64(m.status.Load().InFlight) }),
		gauge("hot_bytes", "Recent messages in memory.", func() float64 { return float64(m.status.Load().HotBytes) }),
	)
	return m
}

func (m *metrics) register(list ...prometheus.Collector) {
	if m.from == nil {
		return
	}
	for _, c := range list {
		if err := m.from.Register(c); err != nil {
			m.l.log.Error("metric not registered", "error", err)
			continue
		}
		m.registered = append(m.registered, c)
	}
}

func (m *metrics) close() {
	for _, c := range m.registered {
		m.from.Unregister(c)
	}
}

func (m *metrics) leading(r *reign) {
	m.leads.Store(r != nil)
	m.pressure.Set(0)
	m.status.Store(new(Status))
}

func (m *metrics) tick(s Status) { m.status.Store(&s) }

func (m *metrics) published(p *shard.Publish, s shard.Status) {
	switch {
	case s == shard.StatusKept:
		m.kept.Inc()
	case s == shard.StatusNoView:
		m.noView.Inc()
	case s == shard.StatusRefused && p.Verdict == shard.Void:
		m.voided.Inc()
	case s == shard.StatusRefused:
		m.refused.Inc()
	default:
		m.repeated.Inc()
	}
}

func (m *metrics) delivered(again bool) {
	m.deliveries.Inc()
	if again {
		m.repetitions.Inc()
	}
}

func (m *metrics) outcome(o *peer.OutcomeItem) { m.outcomes.WithLabelValues(o.State.String()).Inc() }

func (m *metrics) gaveUp(g *shard.GiveUp) {
	n := uint64(0)
	for _, x := range g.Ranges {
		n += x.Totals().Messages
	}
	m.given.WithLabelValues(g.Cause.String()).Add(float64(n))
}

func (m *metrics) turn(t *turn, now time.Time) {
	m.turnTime.Observe(now.Sub(t.began).Seconds())
	m.turnSize.Observe(float64(len(t.takes)))
	m.turnBytes.Observe(float64(len(t.data)))
}
