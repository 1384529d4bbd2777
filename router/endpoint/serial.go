package endpoint

// Delivery-ids, transfer-ids and delivery-counts are RFC 1982 serial numbers of 32 bits (2.8.10): they wrap around, and a is before
// b if the way from a up to b is shorter than the way down.

// before tells whether serial number a comes before b.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// ahead is how far b is in front of a, and 0 if it is not.
func ahead(a, b uint32) uint32 {
	if before(a, b) {
		return b - a
	}
	return 0
}
