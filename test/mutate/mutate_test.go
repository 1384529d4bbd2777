package main

import "testing"

// The guards are still where the mutations look for them. (That the tests notice is shown on demand: it takes minutes.)
func TestMutationsApply(t *testing.T) {
	for _, m := range mutations {
		if _, err := m.overlay(t.TempDir()); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}
