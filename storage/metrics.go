package storage

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/posthouse/posthouse/storage/internal/disk"
	"github.com/prometheus/client_golang/prometheus"
)

var diskBuckets = prometheus.ExponentialBuckets(50e-6, 2, 18) // 50 us to 6.5 s

// metrics are the Store's own counters. Labels are bounded: the two databases, the classes of files.
type metrics struct {
	fsync    *prometheus.HistogramVec // by class
	commit   *prometheus.HistogramVec // by database: a synced append, an unsynced commit
	flushes  *prometheus.CounterVec
	stalls   *prometheus.CounterVec
	slow     prometheus.Counter
	hanging  prometheus.Counter
	restores prometheus.Counter

	scrubBytes prometheus.Counter
	scrubbed   prometheus.Gauge // when the last scrub ended

	registered []prometheus.Collector

	byClass []prometheus.Observer
	append  prometheus.Observer
	apply   prometheus.Observer
}

func newMetrics() *metrics {
	m := &metrics{
		fsync: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "posthouse_storage_fsync_seconds", Help: "Time of one fsync, by class of file.", Buckets: diskBuckets,
		}, []string{"class"}),
		commit: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "posthouse_storage_commit_seconds", Help: "Time of one commit: a synced append to a log, an unsynced batch of a state.", Buckets: diskBuckets,
		}, []string{"db"}),
		flushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "posthouse_storage_flushes_total", Help: "Memtables flushed.",
		}, []string{"db"}),
		stalls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "posthouse_storage_write_stalls_total", Help: "Times that commits were held back because flushing could not keep up.",
		}, []string{"db"}),
		slow: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "posthouse_storage_disk_slow_total", Help: "Syncs that took longer than the configured time.",
		}),
		hanging: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "posthouse_storage_disk_hanging_total", Help: "Disk operations seen to last for seconds, while they did.",
		}),
		restores: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "posthouse_storage_restores_total", Help: "States replaced by an import.",
		}),
		scrubBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "posthouse_storage_scrub_bytes_total", Help: "Bytes of tables read to see whether they are sound.",
		}),
		scrubbed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "posthouse_storage_scrub_timestamp_seconds", Help: "When all tables were last found sound; 0: not since the start.",
		}),
	}
	for _, c := range disk.Classes() {
		m.byClass = append(m.byClass, m.fsync.WithLabelValues(c.String()))
	}
	m.append = m.commit.WithLabelValues(disk.LogDir)
	m.apply = m.commit.WithLabelValues(disk.StateDir)
	return m
}

func (m *metrics) collectors(s *Store) []prometheus.Collector {
	return []prometheus.Collector{m.fsync, m.commit, m.flushes, m.stalls, m.slow, m.hanging, m.restores, m.scrubBytes, m.scrubbed, sizes{s}}
}

// register adds the metrics to the Registerer, all or none.
func (m *metrics) register(r prometheus.Registerer, s *Store) error {
	if r == nil {
		return nil
	}
	for _, c := range m.collectors(s) {
		if err := r.Register(c); err != nil {
			m.unregister(r)
			return err
		}
		m.registered = append(m.registered, c)
	}
	return nil
}

// unregister takes away what register has added: another Store's metrics have the same names.
func (m *metrics) unregister(r prometheus.Registerer) {
	for _, c := range m.registered {
		r.Unregister(c)
	}
	m.registered = nil
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("posthouse_storage_"+name, help, labels, nil)
}

var (
	descDisk      = describe("disk_bytes", "Bytes on disk of a database.", "db")
	descMemtable  = describe("memtable_bytes", "Bytes of memtables in use.", "db")
	descReadAmp   = describe("read_amplification", "Tables that a read may have to look at.", "db")
	descCompact   = describe("compacted_bytes_total", "Bytes written by compactions.", "db")
	descFlushed   = describe("flushed_bytes_total", "Bytes written by flushes.", "db")
	descWAL       = describe("wal_bytes_total", "Bytes written to the write-ahead log.")
	descCache     = describe("cache_bytes", "Bytes in the block cache.")
	descBudget    = describe("memory_budget_bytes", "Most memory that caches and memtables take.")
	descLog       = describe("log_bytes", "Bytes of all groups' log entries.")
	descFree      = describe("disk_free_bytes", "Free bytes of the disk.")
	descTotal     = describe("disk_total_bytes", "Size of the disk.")
	descLevel     = describe("space_level", "0 ok, 1 low, 2 full.")
	descReserve   = describe("reserve_bytes", "Bytes of the reserve file that are there.")
	descWaiting   = describe("space_waiting", "1 while writes wait for space.")
	allSizesDescs = []*prometheus.Desc{descDisk, descMemtable, descReadAmp, descCompact, descFlushed, descWAL, descCache,
		descBudget, descLog, descFree, descTotal, descLevel, descReserve, descWaiting}
)

// sizes reads what is known when it is asked.
type sizes struct{ s *Store }

func (c sizes) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range allSizesDescs {
		ch <- d
	}
}

func (c sizes) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	sp := c.s.Space()
	gauge(descFree, float64(sp.Free))
	gauge(descTotal, float64(sp.Total))
	gauge(descLevel, float64(sp.Level))
	gauge(descReserve, float64(sp.Reserve))
	waiting := 0.0
	if sp.Waiting {
		waiting = 1
	}
	gauge(descWaiting, waiting)
	gauge(descBudget, float64(c.s.MemoryBudget()))
	var logs int64
	for _, l := range c.s.openLogs() {
		logs += l.Bytes()
	}
	gauge(descLog, float64(logs))

	release, err := c.s.enter()
	if err != nil {
		return
	}
	defer release()
	for name, db := range map[string]*pebble.DB{disk.LogDir: c.s.logDB, disk.StateDir: c.s.stateDB} {
		m := db.Metrics()
		total := m.Total()
		gauge(descDisk, float64(m.DiskSpaceUsage()), name)
		gauge(descMemtable, float64(m.MemTable.Size), name)
		gauge(descReadAmp, float64(m.ReadAmp()), name)
		counter(descCompact, float64(total.TableBytesCompacted), name)
		counter(descFlushed, float64(m.Levels[0].TableBytesFlushed), name)
		if name == disk.LogDir {
			counter(descWAL, float64(m.WAL.BytesWritten))
			gauge(descCache, float64(m.BlockCache.Size))
		}
	}
}
