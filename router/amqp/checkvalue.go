package amqp

import (
	"errors"
	"fmt"
)

// CheckValue tells whether AppendValue can write the value and a peer can read it. It is for values that do not come from
// our own code, such as an operator's.
func CheckValue(v any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	// Decoding knows the rest: depth, and keys that come twice.
	_, rest, err := DecodeValue(AppendValue(nil, v))
	if err == nil && len(rest) > 0 {
		err = errors.New("amqp: value is not encoded as one value")
	}
	return err
}
