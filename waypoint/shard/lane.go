package shard

import (
	"slices"

	"github.com/posthouse/posthouse/storage"
)

// lane is a router's numbered stream of publishes into the shard. There is one for each incarnation of a router.
type lane struct {
	id      uint64
	owner   laneOwner
	last    uint64
	active  int64
	refused []Refused // not acknowledged, by N
	dirty   bool
}

// laneOwner is an incarnation of a router.
type laneOwner struct {
	router string
	boot   uint64
}

// acknowledge drops the refusals up to through, calling fn for each.
func (l *lane) acknowledge(through uint64, fn func(n uint64)) {
	i := 0
	for i < len(l.refused) && l.refused[i].N <= through {
		fn(l.refused[i].N)
		i++
	}
	l.refused = slices.Delete(l.refused, 0, i)
}

func (l *lane) record() storage.LaneRecord {
	return storage.LaneRecord{Router: l.owner.router, Boot: l.owner.boot, Last: l.last, Active: l.active}
}

func (l *lane) describe() Lane {
	return Lane{ID: l.id, Router: l.owner.router, Boot: l.owner.boot, Last: l.last, Active: l.active, Refused: len(l.refused)}
}
