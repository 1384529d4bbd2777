package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/posthouse/posthouse/test/proc"
)

func main() {
	run := flag.String("run", "", "only cases whose name contains this")
	format := flag.String("format", "table", "table, or go for benchstat")
	length := flag.Duration("time", 3*time.Second, "how long each case publishes")
	count := flag.Int("count", 1, "how many times each case is run")
	rounds := flag.Int("rounds", 30, "failover: how many times a leader is killed")
	flag.Parse()
	var err error
	if flag.Arg(0) == "failover" {
		err = withTB(func(t testing.TB) error { return failover(t, *rounds) })
	} else {
		err = withTB(func(t testing.TB) error { return table(t, *run, *format, *length, *count) })
	}
	proc.RemoveBinaries()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// withTB gives f what the packages for tests need, outside of a test.
func withTB(f func(t testing.TB) error) (err error) {
	testing.Init()
	flag.Set("test.benchtime", "1x")
	ran := false
	r := testing.Benchmark(func(b *testing.B) {
		if !ran {
			ran = true
			err = f(b)
		}
	})
	if !ran || r.N == 0 && err == nil {
		err = fmt.Errorf("the nodes could not be run (see above)")
	}
	return err
}

func table(t testing.TB, run, format string, d time.Duration, count int) error {
	c := proc.Start(t, proc.Options{Config: "limits:\n  default: {max-messages: 5000000, max-bytes: 20GiB, max-in-flight: 5000}\n"})
	dir, err := os.MkdirTemp("", "posthouse-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	e := &environment{t: t, nodes: c.Nodes, dir: dir, length: d}
	rates := map[string]float64{}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	if format == "table" {
		fmt.Fprintln(w, "case\top/s\tMB/s\tus/op\tp99 us\tratio\tto\t")
	}
	for _, x := range allCases() {
		if !strings.Contains(x.name, run) && !strings.HasPrefix(x.name, "machine/") {
			continue
		}
		for range count {
			r, err := x.run(e)
			if err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			rates[x.name] = r.rate()
			if format == "go" {
				fmt.Printf("Benchmark%s %d %.1f ns/op %.0f op/s\n", strings.ReplaceAll(x.name, " ", "_"), r.ops, float64(r.took.Nanoseconds())/float64(max(r.ops, 1)), r.rate())
				continue
			}
			ratio, p99 := "", ""
			if r.p99 > 0 {
				p99 = fmt.Sprint(r.p99.Microseconds())
			}
			if base := rates[x.base]; base > 0 && x.base != x.name {
				ratio = fmt.Sprintf("%.2f", r.rate()/base)
			}
			fmt.Fprintf(w, "%s\t%.0f\t%.1f\t%.1f\t%s\t%s\t%s\t\n", x.name, r.rate(), r.rate()*float64(x.size)/1e6, 1e6/r.rate(), p99, ratio, x.base)
			fmt.Fprintf(os.Stderr, "%-60s %10.0f op/s\n", x.name, r.rate())
		}
	}
	return w.Flush()
}
