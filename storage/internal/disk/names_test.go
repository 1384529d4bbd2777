package disk

import "testing"

func TestClassOf(t *testing.T) {
	for path, want := range map[string]Class{
		"/d/log/000012.log":                        LogWAL,
		"/d/log.tmp/000002.log":                    LogWAL,
		"/d/log/000012.sst":                        LogTable,
		"/d/state/000012.sst":                      StateTable,
		"/d/state/000012.blob":                     StateTable,
		"/d/state/MANIFEST-000001":                 Manifest,
		"/d/log/OPTIONS-000003":                    Manifest,
		"/d/log/marker.manifest.000001.MANIFEST-1": Manifest,
		"/d/log/LOCK":                              Other,
		"/d/identity":                              Small,
		"/d/identity.tmp":                          Small,
		"d/marks":                                  Small,
		"marks":                                    Small,
		"/d/reserve":                               Ballast,
		"/d/reserve.tmp":                           Ballast,
		"/d/staging/00000001/00000000.sst":         Staging,
		"/d/staging/00000001/progress.tmp":         Staging,
		"/d/LOCK":                                  Other,
		"/d":                                       Other,
	} {
		if got := ClassOf(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	for _, c := range Classes() {
		if back, ok := ParseClass(c.String()); !ok || back != c {
			t.Errorf("%s comes back as %s", c, back)
		}
	}
	if _, ok := ParseClass("unknown"); ok || Class(99).String() != "unknown" {
		t.Error("an unknown class has a name")
	}
}
