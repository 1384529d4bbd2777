package node

import (
	"crypto/sha256"
	"crypto/subtle"
)

// samePassword compares without telling by its duration how much is right. An empty password is nobody's.
func samePassword(have, given string) bool {
	a, b := sha256.Sum256([]byte(have)), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && have != ""
}
