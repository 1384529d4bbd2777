package config

import (
	"fmt"

	"github.com/spf13/pflag"
)

// Flags is one flag a setting, on a command's flag set.
type Flags struct {
	set    *pflag.FlagSet
	values map[string]*string
	lists  map[string]*[]string
}

// AddFlags declares a flag for each setting.
func AddFlags(set *pflag.FlagSet) *Flags {
	f := &Flags{set: set, values: map[string]*string{}, lists: map[string]*[]string{}}
	for _, s := range newTable(&Config{}).settings {
		usage := fmt.Sprintf("%s [$%s]", s.usage, s.env())
		if s.isList() {
			f.lists[s.key] = set.StringArray(s.key, nil, fmt.Sprintf("%s, once an entry: %s", usage, s.example()))
		} else {
			f.values[s.key] = set.String(s.key, s.def, usage)
		}
	}
	return f
}

func (t *table) readFlags(f *Flags) error {
	for _, s := range t.settings {
		if !f.set.Changed(s.key) {
			continue
		}
		texts := f.lists[s.key]
		if !s.isList() {
			texts = &[]string{*f.values[s.key]}
		}
		if err := s.apply(*texts); err != nil {
			return fmt.Errorf("--%s: %w", s.key, err)
		}
	}
	return nil
}
