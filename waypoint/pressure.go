package waypoint

import (
	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/waypoint/peer"
)

// pressure is the worst of what the shard's publishers have to heed: the disks of all its live replicas, since what is
// committed must fit on each, and the memory of this node, which leads.
func (s *shardReplica) pressure() peer.Pressure {
	disk := peer.LevelOK
	for _, r := range s.group.Reports() {
		if r.Live {
			disk = max(disk, diskLevel(r.DiskLevel))
		}
	}
	memory := s.memory.Level()
	switch {
	case memory > disk:
		return peer.Pressure{Level: memory, Reason: peer.ReasonMemory}
	case disk > peer.LevelOK:
		return peer.Pressure{Level: disk, Reason: peer.ReasonDisk}
	}
	return peer.Pressure{}
}

func diskLevel(l storage.SpaceLevel) peer.Level {
	switch l {
	case storage.SpaceOK:
		return peer.LevelOK
	case storage.SpaceLow:
		return peer.LevelLow
	}
	return peer.LevelFull
}
