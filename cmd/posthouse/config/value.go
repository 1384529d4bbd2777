package config

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// The kinds of values. Each returns what stores a text, or says what is wrong with it and what to write.

func text(to *string) func(string) error {
	return func(s string) error { *to = s; return nil }
}

var nameRE = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

func name(to *string) func(string) error {
	return func(s string) error {
		if !nameRE.MatchString(s) {
			return fmt.Errorf("%q is not a name: letters, digits, and . _ - between them, 64 at most", s)
		}
		*to = s
		return nil
	}
}

func hostPort(to *string) func(string) error {
	return func(s string) error {
		if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
			return fmt.Errorf("%q is not HOST:PORT; write e.g. 127.0.0.1:5672", s)
		} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			return fmt.Errorf("%q: port %s is not between 0 and 65535", s, port)
		}
		*to = s
		return nil
	}
}

func positive(to *int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is not a whole number from 1 on", s)
		}
		*to = n
		return nil
	}
}

func count(to *int64) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a whole number from 0 on", s)
		}
		*to = n
		return nil
	}
}

func boolean(to *bool) func(string) error {
	return func(s string) error {
		switch s {
		case "true":
			*to = true
		case "false":
			*to = false
		default:
			return fmt.Errorf("%q is neither true nor false", s)
		}
		return nil
	}
}

func oneOf(to *string, values ...string) func(string) error {
	return func(s string) error {
		for _, v := range values {
			if s == v {
				*to = s
				return nil
			}
		}
		return fmt.Errorf("%q is not one of %s", s, strings.Join(values, ", "))
	}
}

func duration(to *time.Duration) func(string) error {
	return func(s string) error {
		d, err := peer.ParseDuration(s)
		if err != nil {
			return err
		}
		*to = d
		return nil
	}
}

func size(to *int64) func(string) error {
	return func(s string) error {
		n, err := peer.ParseSize(s)
		if err != nil {
			return err
		}
		*to = n
		return nil
	}
}

// binary are the units that FormatSize writes.
var binary = []struct {
	suffix string
	bytes  int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// FormatSize writes a size with the largest binary unit that leaves a number of at least 1.
func FormatSize(n int64) string {
	for _, unit := range binary {
		if n >= unit.bytes {
			f := strconv.FormatFloat(float64(n)/float64(unit.bytes), 'f', 1, 64)
			return strings.TrimSuffix(f, ".0") + unit.suffix
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// FormatDuration writes a duration so that peer.ParseDuration reads it, whole days as days.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d >= time.Hour && d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d >= time.Minute && d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return d.String()
}
