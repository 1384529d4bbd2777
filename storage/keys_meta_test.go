package storage

import (
	"bytes"
	"testing"
)

func TestMetaKeys(t *testing.T) {
	for _, c := range []struct {
		key  []byte
		want MetaKey
	}{
		{AppendMetaKey(nil, MetaHeader), MetaKey{Kind: MetaHeader}},
		{AppendMetaKey(nil, MetaPolicy), MetaKey{Kind: MetaPolicy}},
		{AppendMetaKey(nil, MetaSlots), MetaKey{Kind: MetaSlots}},
		{AppendSubscriptionKey(nil, 1<<40), MetaKey{Kind: MetaSubscription, Number: 1 << 40}},
		{AppendCaptureKey(nil, "a/b"), MetaKey{Kind: MetaCapture, Text: "a/b"}},
		{AppendCaptureKey(nil, ""), MetaKey{Kind: MetaCapture}},
		{AppendRouterKey(nil, "r1", 7), MetaKey{Kind: MetaRouter, Number: 7, Text: "r1"}},
	} {
		if got, ok := ParseMetaKey(c.key); !ok || got != c.want {
			t.Errorf("%q: %+v %v, want %+v", c.key, got, ok, c.want)
		}
	}
	for _, bad := range []string{"", "H1", "S123", "S123456789", "Rshort", "?"} {
		if got, ok := ParseMetaKey([]byte(bad)); ok {
			t.Errorf("%q is taken for %+v", bad, got)
		}
	}
	if bytes.Compare(AppendSubscriptionKey(nil, 255), AppendSubscriptionKey(nil, 256)) >= 0 {
		t.Error("subscriptions are not in the order of their ids")
	}
}
