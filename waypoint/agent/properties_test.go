package agent

import (
	"errors"
	"testing"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/waypoint/peer"
)

func TestParseProperties(t *testing.T) {
	for _, test := range []struct {
		key   amqp.Symbol
		value any
		want  peer.Limits
		name  string
		err   amqp.Symbol
	}{
		{PropertyMaxMessages, uint32(5), peer.Limits{MaxMessages: 5}, "", ""},
		{PropertyMaxMessages, int8(5), peer.Limits{MaxMessages: 5}, "", ""},
		{PropertyMaxMessages, "5", peer.Limits{MaxMessages: 5}, "", ""},
		{PropertyMaxMessages, 0, peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertyMaxMessages, int64(0), peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertyMaxMessages, int32(-1), peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertyMaxMessages, uint64(1) << 63, peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertyMaxMessages, 1.5, peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertyMaxMessages, "many", peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertyMaxBytes, "64MiB", peer.Limits{MaxBytes: 64 << 20}, "", ""},
		{PropertyMaxBytes, "2 kB", peer.Limits{MaxBytes: 2000}, "", ""},
		{PropertyMaxBytes, "2KB", peer.Limits{MaxBytes: 2000}, "", ""},
		{PropertyMaxBytes, "1.5gib", peer.Limits{MaxBytes: 3 << 29}, "", ""},
		{PropertyMaxBytes, "0", peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertyMaxAge, "7d", peer.Limits{MaxAgeMS: 7 * 24 * 3600 * 1000}, "", ""},
		{PropertyMaxAge, "-7d", peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertyMaxBytes, "10B", peer.Limits{MaxBytes: 10}, "", ""},
		{PropertyMaxBytes, int64(10), peer.Limits{MaxBytes: 10}, "", ""},
		{PropertyMaxBytes, "9999999999TiB", peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertyMaxBytes, "MiB", peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertyMaxAge, "36h", peer.Limits{MaxAgeMS: 36 * 3600 * 1000}, "", ""},
		{PropertyMaxAge, uint16(500), peer.Limits{MaxAgeMS: 500}, "", ""},
		{PropertyMaxAge, "500", peer.Limits{MaxAgeMS: 500}, "", ""},
		{PropertyMaxAge, "1us", peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertyMaxInFlight, uint8(9), peer.Limits{MaxInFlight: 9}, "", ""},
		{PropertyOverflow, amqp.Symbol("drop-oldest"), peer.Limits{Overflow: peer.OverflowDropOldest}, "", ""},
		{PropertyOverflow, "explode", peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertyOverflow, "", peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertySubscription, "orders", peer.Limits{}, "orders", ""},
		{PropertySubscription, "", peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertySubscription, 5, peer.Limits{}, "", amqp.ErrCondInvalidField},
		{PropertyOnClose, "keep", peer.Limits{}, "", ""},
		{PropertyOnClose, "maybe", peer.Limits{}, "", amqp.ErrCondInvalidField},
		{"posthouse:max-deliveries", 5, peer.Limits{}, "", amqp.ErrCondNotImplemented},
		{"posthouse:typo", 5, peer.Limits{}, "", amqp.ErrCondInvalidField},
		{"paired", true, peer.Limits{}, "", ""},
	} {
		a, err := parseProperties(map[amqp.Symbol]any{test.key: test.value})
		if a.limits != test.want || a.name != test.name {
			t.Errorf("%s=%v: %+v", test.key, test.value, a)
		}
		var e *amqp.Error
		if test.err == "" && err != nil || test.err != "" && (!errors.As(err, &e) || e.Condition != test.err || e.Info["property"] != string(test.key)) {
			t.Errorf("%s=%v: %v", test.key, test.value, err)
		}
	}
}
