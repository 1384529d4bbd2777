package peer

import (
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Network carries bodies between the waypoints of nodes. It is implemented over the routers' own connections; package
// peertest has one in memory.
type Network interface {
	// Node is the name of this node.
	Node() string
	// Send hands body to the waypoint of node, which may be this one. It never blocks, never calls back and takes ownership of body.
	// False: there is no path now. Bodies to one node arrive in the order sent while the path lasts, and may be
	// lost when it breaks; they are never doubled.
	Send(node string, body []byte) bool
	// Receive sets the function that is called for each body that arrives: in order per sender, for different senders at
	// once perhaps. It must not block; body is its own. Called once, before any Send.
	Receive(func(from string, body []byte))
	// Advertise tells all nodes that address is served here since term. Withdraw takes it back. Neither blocks; both may call OnChange's function.
	Advertise(address string, term uint64)
	Withdraw(address string)
	// Resolve finds the node that advertised address with the newest term.
	Resolve(address string) (node string, ok bool)
	// OnChange sets a function that is called when a resolution or whether a node can be reached may have changed. It must not block, and
	// is called under no lock that Send or Resolve take. Called once, before any Send.
	OnChange(func())
}

// MetaGroup is the group that holds subscriptions and captures. Shards are the groups from 1 on.
const MetaGroup uint32 = 0

// Address is the address that the leader of a group is found at.
func Address(group uint32) string {
	if group == MetaGroup {
		return "$waypoint/meta"
	}
	return "$waypoint/" + strconv.FormatUint(uint64(group), 10)
}

// Slots is the number of slots that addresses hash to; meta maps slots to shards.
const Slots = 256

// Slot is the slot of an address.
func Slot(address string) int { return int(xxhash.Sum64String(address) % Slots) }
