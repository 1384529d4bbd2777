package peer

// Renew asks meta for a lease, and confirms an epoch (agent to leader). It is sent after Welcome, every third of a lease, and at
// once after each Lease that brought a new epoch.
type Renew struct {
	ID        uint64 // counts up in a session; the lease that answers it counts from its sending
	Confirmed uint64 // the newest epoch that every publish beginning now is treated by; 0: none yet
}

// Lease tells the captures, and grants a lease (leader to agent). It answers a Renew, or is sent without one (ID 0, Millis 0) to have a
// new epoch confirmed.
type Lease struct {
	ID     uint64 // of the Renew that it answers
	Millis uint32 // the lease's length, from when that Renew was sent; 0: none (the confirmed epoch is too old)
	Epoch  uint64 // after Add and Del
	// Full: Add is the whole set. Otherwise Add and Del change the set of epoch Since, which is the one that this session's last
	// Lease brought, or the one that its first Renew confirmed.
	Full  bool
	Since uint64
	Add   []string
	Del   []string
	// More: the change goes on in the next Lease of this session (same Epoch, Full and Since), because a body is bounded; it takes effect with the
	// last one, whole. A leader puts at most LeaseItems into one.
	More bool
	// Policy is a Policy as JSON; empty: as before. Always there with Full.
	Policy []byte
	// Slots says which shard has which slot of the addresses: none, as before, or exactly Slots of them. Always there with Full, in its last Lease.
	Slots []uint32
}

// LeaseItems bounds Add and Del of one Lease, so that addresses of any length fit into a body.
const LeaseItems = 1000

// Notice tells that the links of a subscription up to generation Gen are over (meta's leader to agent): another took their place, or
// the subscription is gone. The shard's Ended says the same when the shard can; either may come first, or alone.
type Notice struct {
	Sub, Gen  uint64
	Condition string // AMQP error condition: amqp:link:stolen, amqp:resource-deleted
	Text      string
}
