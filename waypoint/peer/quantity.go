package peer

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Sizes and durations are written alike wherever a limit can be: in the configuration, on the command line, in the admin API and in
// link properties.

// ParseDuration reads Go's durations (1h30m, 250ms) and days (7d).
func ParseDuration(s string) (time.Duration, error) {
	rest, days := s, int64(0)
	if head, tail, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseInt(head, 10, 64)
		if err != nil || n < 0 || n > 100_000 {
			return 0, badDuration(s)
		}
		days, rest = n, tail
	}
	var d time.Duration
	if rest != "" {
		var err error
		if d, err = time.ParseDuration(rest); err != nil || d < 0 {
			return 0, badDuration(s)
		}
	} else if days == 0 && s != "0d" {
		return 0, badDuration(s)
	}
	d += time.Duration(days) * 24 * time.Hour
	if d < 0 {
		return 0, badDuration(s)
	}
	return d, nil
}

func badDuration(s string) error {
	return fmt.Errorf("%q is not a duration; write a number with its unit, e.g. 500ms, 30s, 10m, 12h, 7d", s)
}

var units = []struct {
	suffix string
	bytes  int64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 1 << 40}, {"b", 1},
}

// ParseSize reads bytes (1048576) and sizes with a unit in any case (64KiB, 1.5GiB, 10MB, 2kB; K, M, G and T are binary).
func ParseSize(s string) (int64, error) {
	number, factor := strings.ToLower(strings.TrimSpace(s)), int64(1)
	for _, u := range units {
		if strings.HasSuffix(number, u.suffix) {
			number, factor = strings.TrimSpace(strings.TrimSuffix(number, u.suffix)), u.bytes
			break
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f < 0 || math.IsNaN(f) || f*float64(factor) > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is not a size; write bytes or a number with its unit, e.g. 64KiB, 512MiB, 1GiB", s)
	}
	return int64(f * float64(factor)), nil
}
