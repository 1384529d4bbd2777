package storagetest

import "testing"

func TestUncheckedIteratorsFindsThem(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want int
	}{
		"never closed":         {`it, _ := db.NewIter(nil); for it.First(); it.Valid(); it.Next() {}`, 1},
		"deferred close":       {`it, _ := db.NewIter(nil); defer it.Close(); it.First()`, 1},
		"close by itself":      {`it, _ := st.Iter(nil, nil); it.First(); it.Close()`, 1},
		"close given to blank": {`it, _ := st.Iter(nil, nil); it.First(); _ = it.Close()`, 1},
		"inside a literal":     {`f := func() { it, _ := st.Iter(nil, nil); it.First() }; f()`, 1},
		"error looked at":      {`it, _ := st.Iter(nil, nil); if err := it.Error(); err != nil { panic(err) }; it.Close()`, 0},
		"close joined":         {`it, _ := st.Iter(nil, nil); it.First(); return errors.Join(err, it.Close())`, 0},
		"close in a defer":     {`it, _ := st.Iter(nil, nil); defer func() { err = errors.Join(err, it.Close()) }()`, 0},
		"returned":             {`it, err := st.Iter(nil, nil); return it, err`, 0},
		"stored":               {`it, _ := st.Iter(nil, nil); x := &wrap{it: it}; use(x)`, 0},
		"not an iterator":      {`it := st.Iter(5); it.First()`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			src := "package p\nfunc f() (a, b any) {\n" + c.body + "\n}\n"
			found, err := uncheckedIn("p.go", []byte(src))
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != c.want {
				t.Fatalf("found %v, want %d", found, c.want)
			}
		})
	}
}
