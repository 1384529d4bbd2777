package main

import (
	"fmt"
	"slices"
	"time"
)

// attach is how long the answer takes to the attach that makes a durable subscription, one after the other at all nodes in
// turn, while all nodes are well. On a new address each router has to confirm the capture first; on a known one nobody is
// asked. Connections are made beforehand, and are not counted.
func attach(known bool) func(*environment) (result, error) {
	return func(e *environment) (result, error) {
		topic := e.newTopic()
		if err := captured(e, topic); err != nil {
			return result{}, err
		}
		var took []time.Duration
		for began := time.Now(); time.Since(began) < e.length; {
			name := fmt.Sprintf("%s.%d", topic, len(took))
			address := name
			if known {
				address = topic
			}
			s, err := newSubscriber(e.nodes[len(took)%len(e.nodes)].AMQP, address, name, 0)
			if err != nil {
				return result{}, err
			}
			s.close()
			took = append(took, s.answered)
		}
		return ofEach(took), nil
	}
}

// ofEach is the result of operations that were timed one by one.
func ofEach(took []time.Duration) result {
	slices.Sort(took)
	r := result{ops: len(took), p99: took[len(took)*99/100]}
	for _, d := range took {
		r.took += d
	}
	return r
}
