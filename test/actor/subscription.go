package actor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/test/proc"
)

// What an operator does with subscriptions, by the API of a node.

// Create makes a durable subscription that nobody has attached to, and returns what the API says of it.
func (s *Story) Create(n *proc.Node, name, address string, l api.Limits) api.Subscription {
	s.T.Helper()
	var out api.Subscription
	if err := call(n, http.MethodPost, api.PathSubscriptions, api.SubscriptionRequest{Name: name, Address: address, Limits: l}, &out); err != nil {
		s.T.Fatalf("create subscription %s at node %s: %v", name, n.Name, err)
	}
	return out
}

// Show asks for a subscription; err is nil if there is one.
func (s *Story) Show(n *proc.Node, name string) (out api.Subscription, err error) {
	err = call(n, http.MethodGet, path(name), nil, &out)
	return out, err
}

// MustShow asks for a subscription until there is an answer with its figures.
func (s *Story) MustShow(n *proc.Node, name string) api.Subscription {
	s.T.Helper()
	var out api.Subscription
	var err error
	s.Eventually(func() bool {
		out, err = s.Show(n, name)
		return err == nil && out.Error == ""
	}, func() string { return "show " + name + ": " + errorText(err, out) })
	return out
}

func errorText(err error, s api.Subscription) string {
	if err != nil {
		return err.Error()
	}
	return s.Error
}

// Set changes limits.
func (s *Story) Set(n *proc.Node, name string, l api.Limits) api.Subscription {
	s.T.Helper()
	var out api.Subscription
	if err := s.TrySet(n, name, l, &out); err != nil {
		s.T.Fatalf("change subscription %s at node %s: %v", name, n.Name, err)
	}
	return out
}

// TrySet is Set that may be refused.
func (s *Story) TrySet(n *proc.Node, name string, l api.Limits, out *api.Subscription) error {
	return call(n, http.MethodPatch, path(name), api.SubscriptionRequest{Limits: l}, out)
}

// Remove removes a subscription.
func (s *Story) Remove(n *proc.Node, name string) {
	s.T.Helper()
	if err := call(n, http.MethodDelete, path(name), nil, nil); err != nil {
		s.T.Fatalf("remove subscription %s at node %s: %v", name, n.Name, err)
	}
}

// LeaderOf is the node that leads the shard of a subscription.
func (s *Story) LeaderOf(name string) *proc.Node {
	s.T.Helper()
	return s.Cluster.Leader(s.MustShow(s.running(), name).Shard, Patience)
}

// running is a node that runs.
func (s *Story) running() *proc.Node {
	for _, n := range s.Cluster.Nodes {
		if n.Running() {
			return n
		}
	}
	s.T.Fatal("no node runs")
	return nil
}

func path(name string) string { return api.PathSubscriptions + "/" + url.PathEscape(name) }

func call(n *proc.Node, method, path string, in, out any) error {
	body := &bytes.Buffer{}
	if in != nil {
		if err := json.NewEncoder(body).Encode(in); err != nil {
			return err
		}
	}
	return n.Call(method, path, body, out)
}

// AddressPerShard finds an address in each of the cluster's shards, the lowest shard first.
func (s *Story) AddressPerShard(name string, shards int) []string {
	s.T.Helper()
	found := map[uint32]string{}
	for i := 0; len(found) < shards; i++ {
		if i == 100 {
			s.T.Fatalf("no address in some of the shards: %v", found)
		}
		address := s.Name(fmt.Sprint(name, i))
		probe := s.Create(s.running(), address+".probe", address, api.Limits{})
		if found[probe.Shard] == "" {
			found[probe.Shard] = address
		}
		s.Remove(s.running(), probe.Name)
	}
	var addresses []string
	for shard := uint32(1); len(addresses) < shards; shard++ {
		addresses = append(addresses, found[shard])
	}
	return addresses
}

// Isolated tells whether a node says that it has no lease.
func (s *Story) Isolated(n *proc.Node) bool {
	var out api.Node
	return n.Get(api.PathNode, &out) == nil && out.Isolated
}
