package raft

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// formNode is one node of a formation without a network: it sees of each peer some earlier announcement.
type formNode struct {
	self string
	m    membership
	said []acquaintance // all it has announced, oldest first
}

func (n *formNode) announce(names []string) {
	n.said = append(n.said, acquaintance{Self: n.self, Names: names, Membership: n.m})
}

func TestFormation(t *testing.T) {
	names := []string{"a", "b", "c"}
	at := func(self string, m membership) acquaintance {
		return acquaintance{Self: self, Names: names, Membership: m}
	}
	all := []string{"a/1", "b/1", "c/1"}
	promised := membership{State: statePromised, Initial: all}
	formed := membership{State: stateFormed, Initial: all, Formation: formationID("x", all)}

	for _, tc := range []struct {
		name  string
		m     membership
		self  string
		peers map[string]acquaintance
		want  formState
		err   error
	}{
		{name: "waits for all", self: "a/1", peers: map[string]acquaintance{"b": at("b/1", membership{})}, want: stateEmpty},
		{name: "promises when all are empty", self: "a/1", want: statePromised,
			peers: map[string]acquaintance{"b": at("b/1", membership{}), "c": at("c/1", membership{})}},
		{name: "waits for promises", self: "a/1", m: promised, want: statePromised,
			peers: map[string]acquaintance{"b": at("b/1", promised), "c": at("c/1", membership{})}},
		{name: "forms on all promises", self: "a/1", m: promised, want: stateFormed,
			peers: map[string]acquaintance{"b": at("b/1", promised), "c": at("c/1", promised)}},
		{name: "forms when a promiser has formed", self: "a/1", m: promised, want: stateFormed,
			peers: map[string]acquaintance{"b": at("b/1", formed)}},
		{name: "emptied directory joins", self: "a/2", want: stateJoined,
			peers: map[string]acquaintance{"b": at("b/1", formed)}},
		{name: "emptied directory does not form without all", self: "a/2", want: stateEmpty,
			peers: map[string]acquaintance{"b": at("b/2", membership{})}},
		{name: "replaced while forming", self: "a/1", m: promised, want: statePromised, err: errHalfFormed,
			peers: map[string]acquaintance{"b": at("b/1", promised), "c": at("c/2", membership{})}},
		{name: "founder without its promise is a copy", self: "a/1", want: stateEmpty, err: errOldDirectory,
			peers: map[string]acquaintance{"b": at("b/1", formed)}},
		{name: "lists differ", self: "a/1", want: stateEmpty, err: errOtherPeers,
			peers: map[string]acquaintance{"b": {Self: "b/1", Names: []string{"a", "b"}}, "c": at("c/1", membership{})}},
		{name: "formed stays", self: "a/1", m: formed, want: stateFormed, peers: map[string]acquaintance{"b": at("b/2", membership{})}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.m.advance("x", tc.self, names, tc.peers)
			if got.State != tc.want || !errors.Is(err, tc.err) {
				t.Fatalf("advance = %q, %v; want %q, %v", got.State, err, tc.want, tc.err)
			}
		})
	}
	if m, err := (membership{}).advance("x", "a/1", []string{"a"}, nil); err != nil || m.State != statePromised {
		t.Fatalf("a cluster of one: %v %v", m, err)
	} else if m, err = m.advance("x", "a/1", []string{"a"}, nil); err != nil || m.State != stateFormed {
		t.Fatalf("a cluster of one: %v %v", m, err)
	}
}

// TestFormationNeverTwice runs formations in which directories are lost at any step and peers see old announcements, and
// wants that no two live directories have formed different clusters, and that the joined ones know a formed one.
func TestFormationNeverTwice(t *testing.T) {
	names := []string{"a", "b", "c"}
	for seed := range 3000 {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		life := 1
		nodes := map[string]*formNode{}
		for _, n := range names {
			nodes[n] = &formNode{self: n + "/1"}
			nodes[n].announce(names)
		}
		for range 40 {
			name := names[rng.IntN(3)]
			n := nodes[name]
			if rng.IntN(12) == 0 {
				life++
				nodes[name] = &formNode{self: fmt.Sprintf("%s/%d", name, life)}
				nodes[name].announce(names)
				continue
			}
			peers := map[string]acquaintance{}
			for _, p := range names {
				if p != name && rng.IntN(4) > 0 {
					said := nodes[p].said
					peers[p] = said[max(0, len(said)-1-rng.IntN(2))]
				}
			}
			m, _ := n.m.advance("x", n.self, names, peers)
			n.m = m
			n.announce(names)
		}
		formations := map[string][]string{}
		for _, n := range nodes {
			if n.m.State == stateFormed {
				if !slices.Contains(n.m.Initial, n.self) {
					t.Fatalf("seed %d: %s formed without itself: %v", seed, n.self, n.m)
				}
				formations[n.m.Formation] = append(formations[n.m.Formation], n.self)
			}
		}
		if len(formations) > 1 {
			t.Fatalf("seed %d: two clusters: %v", seed, formations)
		}
	}
}
