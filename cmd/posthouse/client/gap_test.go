package client

import "testing"

func TestGapReasons(t *testing.T) {
	for want, causes := range map[string]map[string]uint64{
		"":                       {},
		"max-age":                {"max-age": 7},
		"40 max-age, 2 rejected": {"rejected": 2, "max-age": 40},
	} {
		if got := (Gap{Causes: causes}).Reasons(); got != want {
			t.Errorf("%v: %q, want %q", causes, got, want)
		}
	}
}
