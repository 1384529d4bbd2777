package peer

import (
	"testing"
	"time"
)

func TestDurationsAndSizes(t *testing.T) {
	for text, want := range map[string]time.Duration{"7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "250ms": 250 * time.Millisecond, "0s": 0, "0d": 0} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "7", "-1s", "d", "1.5d", "999999999d"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v", text, got)
		}
	}
	for text, want := range map[string]int64{"0": 0, "1024": 1024, "64KiB": 65536, "1.5GiB": 3 << 29, "10MB": 10_000_000, "2G": 2 << 30, "5 MiB": 5 << 20, "2kB": 2000, "2KB": 2000, "2kb": 2000, "64mib": 64 << 20, "7B": 7} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "much", "nan", "inf", "9999999999TiB", "1 2KiB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %v", text, got)
		}
	}
}
