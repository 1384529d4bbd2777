package meta

import "github.com/posthouse/posthouse/waypoint/peer"

// Spread gives the slots to shards 1 to n in turn, as a new cluster does.
func Spread(n uint32) Slots {
	var s Slots
	for i := range s {
		s[i] = 1 + uint32(i)%n
	}
	return s
}

// Shard is the shard that has an address.
func (s *Slots) Shard(address string) uint32 { return s[peer.Slot(address)] }
