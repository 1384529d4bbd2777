package endpoint

import (
	"testing"
	"time"
)

func TestConfigValidate(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no container-id":  {},
		"small frames":     {ContainerID: "x", MaxFrameSize: 511},
		"negative timeout": {ContainerID: "x", CloseTimeout: -1},
		"tiny idle":        {ContainerID: "x", IdleTimeout: time.Microsecond},
	} {
		if err := cfg.Validate(); err == nil {
			t.Errorf("%s: valid", name)
		}
	}
	if err := (&Config{ContainerID: "x", MaxFrameSize: 512, IdleTimeout: -1}).Validate(); err != nil {
		t.Error(err)
	}
}
