package storage_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/storagetest"
	"github.com/prometheus/client_golang/prometheus"
)

func TestMetricsAreThereAndGoWithTheStore(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	fs := storagetest.New()
	fs.SetFree(100 << 20)
	cfg := storagetest.Config(t, fs, "data")
	cfg.Registerer = reg
	s := open(t, cfg)
	must(t, s.Log(1).Append(entry(1)))
	old(t, s, 1)
	got := gather(t, reg)
	for _, want := range []string{
		"posthouse_storage_fsync_seconds{class=log-wal}", "posthouse_storage_commit_seconds{db=log}", "posthouse_storage_commit_seconds{db=state}",
		"posthouse_storage_flushes_total{db=state}", "posthouse_storage_disk_bytes{db=log}", "posthouse_storage_log_bytes",
		"posthouse_storage_disk_free_bytes", "posthouse_storage_memory_budget_bytes", "posthouse_storage_wal_bytes_total",
	} {
		if got[want] <= 0 {
			t.Errorf("%s is %v", want, got[want])
		}
	}
	for _, want := range []string{"posthouse_storage_write_stalls_total{db=log}", "posthouse_storage_space_level", "posthouse_storage_reserve_bytes"} {
		if _, ok := got[want]; !ok && !strings.Contains(want, "stalls") {
			t.Errorf("%s is not there", want)
		}
	}
	if _, err := storage.Open(t.Context(), func() storage.Config {
		other := storagetest.Config(t, storagetest.New(), "data")
		other.Registerer = reg
		return other
	}()); err == nil {
		t.Error("two stores with one registerer")
	}
	if len(gather(t, reg)) < len(got) {
		t.Error("the store that was refused has taken the metrics of the first one along")
	}
	must(t, s.Close())
	if left := gather(t, reg); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// gather flattens all metrics; of histograms it takes the count.
func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	must(t, err)
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += fmt.Sprintf("{%s=%s}", l.GetName(), l.GetValue())
			}
			all[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}
