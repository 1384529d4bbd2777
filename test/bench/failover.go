package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/test/proc"
)

// failover kills the leader of a topic's shard again and again under a publisher and a subscriber at other nodes, and
// measures for how long no message is accepted and none is delivered.
func failover(t testing.TB, rounds int) error {
	c := proc.Start(t, proc.Options{})
	var stops []time.Duration
	elections := uint64(0)
	for round := range rounds {
		topic := fmt.Sprintf("failover.%d", round)
		stop, terms, err := oneFailover(c, topic)
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		stops = append(stops, stop)
		elections += terms
		fmt.Printf("round %2d: nothing delivered for %v, %d terms\n", round+1, stop.Round(time.Millisecond), terms)
	}
	slices.Sort(stops)
	fmt.Printf("p50 %v, p99 %v, worst %v of %d; %.1f elections a round\n", stops[len(stops)/2].Round(time.Millisecond), stops[len(stops)*99/100].Round(time.Millisecond),
		stops[len(stops)-1].Round(time.Millisecond), rounds, float64(elections)/float64(rounds))
	return nil
}

func oneFailover(c *proc.Cluster, topic string) (time.Duration, uint64, error) {
	scout, err := newSubscriber(c.Nodes[0].AMQP, topic, "sub-"+topic, 0)
	if err != nil {
		return 0, 0, err
	}
	scout.close()
	var s api.Subscription
	if err := c.Nodes[0].Get(api.PathSubscriptions+"/sub-"+topic, &s); err != nil {
		return 0, 0, err
	}
	leader := c.Leader(s.Shard, 30*time.Second)
	others := c.Others(leader)
	sub, err := newSubscriber(others[0].AMQP, topic, "sub-"+topic, 1000)
	if err != nil {
		return 0, 0, err
	}
	defer sub.close()
	p, err := newPublisher(others[1].AMQP, topic, 10, false)
	if err != nil {
		return 0, 0, err
	}
	defer p.close()
	before := term(others[0], s.Shard)
	stop := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		payload := message(128)
		for {
			select {
			case <-stop:
				failed <- nil
				return
			default:
				if err := p.publish(payload); err != nil {
					failed <- err
					return
				}
			}
		}
	}()
	waitFor(sub, sub.received.Load()+1000)
	leader.Kill()
	longest, last := time.Duration(0), time.Now()
	for n, end := sub.received.Load(), time.Now().Add(8*time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if now := sub.received.Load(); now != n {
			longest, n, last = max(longest, time.Since(last)), now, time.Now()
		}
	}
	longest = max(longest, time.Since(last))
	close(stop)
	err = <-failed
	after := term(others[0], s.Shard)
	leader.Restart()
	c.WaitReady(60 * time.Second)
	return longest, after - before, err
}

func waitFor(s *client, n int64) {
	for s.received.Load() < n {
		time.Sleep(time.Millisecond)
	}
}

func term(n *proc.Node, shard uint32) uint64 {
	var s api.Cluster
	if n.Get(api.PathCluster, &s) == nil {
		for _, g := range s.Groups {
			if g.ID == shard {
				return g.Term
			}
		}
	}
	return 0
}
