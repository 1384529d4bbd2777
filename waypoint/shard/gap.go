package shard

import (
	"slices"

	"github.com/posthouse/posthouse/storage"
)

// gap is what a cursor gave up and its subscriber has not confirmed to have heard, in pieces from old to new. Each entry
// that gives something up makes pieces of its own, so that confirming an older version leaves the newer pieces.
//
// There are at most MaxGapRanges. When there are more, the two neighbours whose entries lie closest together become one.
// Its version is the newer one's: who has heard only of the older is told both again, rather than neither. Since old and
// new neighbours are treated alike, the pieces come to cover about the same number of entries each: a subscriber whose
// confirmations come late hears at most about a tenth of its gap twice, however fast it grows.
type gap []storage.GapPiece

// grow adds what the entry at version gave up.
func (g gap) grow(version, topic uint64, r Range, cause Cause) gap {
	t := r.Totals()
	if n := len(g) - 1; n >= 0 && g[n].First == version && g[n].Topic == topic && g[n].After == r.Before.Messages {
		p := &g[n]
		p.Through, p.After = r.Through, r.At.Messages
		p.Messages += t.Messages
		p.Bytes += t.Bytes
		p.Causes[cause] += t.Messages
		return g
	}
	p := storage.GapPiece{First: version, Version: version, Topic: topic, From: r.From, Through: r.Through,
		After: r.At.Messages, Messages: t.Messages, Bytes: t.Bytes}
	p.Causes[cause] = t.Messages
	g = append(g, p)
	if len(g) > MaxGapRanges {
		g = g.collapse()
	}
	return g
}

// collapse joins the two neighbours whose entries lie closest together, the older ones if there are several.
func (g gap) collapse() gap {
	best := 0
	for i := 1; i+1 < len(g); i++ {
		if g[i+1].Version-g[i].First < g[best+1].Version-g[best].First {
			best = i
		}
	}
	a, b := &g[best], &g[best+1]
	a.Version = b.Version
	a.From, a.Through = min(a.From, b.From), max(a.Through, b.Through)
	a.After = max(a.After, b.After)
	a.Messages += b.Messages
	a.Bytes += b.Bytes
	for cause, n := range b.Causes {
		a.Causes[cause] += n
	}
	return slices.Delete(g, best+1, best+2)
}

// heard drops what a subscriber knows that has heard of version.
func (g gap) heard(version uint64) gap {
	n := 0
	for n < len(g) && g[n].Version <= version {
		n++
	}
	return slices.Delete(g, 0, n)
}

// told is the gap as it is told.
func (g gap) told() Gap {
	var t Gap
	for i := range g {
		p := &g[i]
		t.Version = p.Version
		t.Messages += p.Messages
		t.Bytes += p.Bytes
		most := Cause(0)
		for cause, n := range p.Causes {
			t.Causes[cause] += n
			if n > p.Causes[most] {
				most = Cause(cause)
			}
		}
		t.Ranges = append(t.Ranges, GapRange{Version: p.Version, Topic: p.Topic, From: p.From, Through: p.Through,
			Messages: p.Messages, Bytes: p.Bytes, Cause: most})
	}
	return t
}
