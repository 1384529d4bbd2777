package raft

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A cluster forms by itself, once, from empty directories, in whatever order they start:
//
//	empty     -> promised  all configured peers are in touch, have the same list of peers, and none has ever been part of a
//	                       cluster: this node promises the list of replicas that it sees
//	promised  -> formed    all of them have promised the same list, or one of them has formed with it
//	empty, promised -> joined   a peer is part of a formed cluster that does not know this replica
//
// Each step is synced before anybody hears of it. A promise is never taken back: so two different lists with a replica in
// common can never both be formed, and of two lists without one, one replica a node, only one set of directories can be
// alive. Raft starts with the list as its first configuration (written by each, identically) only when formed; a joined
// replica starts with nothing and waits until the groups' leaders add it. An emptied directory is a new replica, meets a
// formed peer, and joins; it can never vote under the old id. Two emptied nodes of three cannot form while the third is
// down, since all have to be there: better no cluster than a second one without the data.

type formState string

const (
	stateEmpty    formState = ""
	statePromised formState = "promised"
	stateFormed   formState = "formed"
	stateJoined   formState = "joined"
)

// membership is a node's place in the cluster. A node is named by "name/directory id" here.
type membership struct {
	State     formState `json:",omitempty"`
	Initial   []string  `json:",omitempty"` // promised or formed with, sorted
	Formation string    `json:",omitempty"` // names the cluster that was formed
}

func (m membership) member() bool { return m.State == stateFormed || m.State == stateJoined }

// founder says whether this directory is one of those that formed the cluster.
func (m membership) founder(self string) bool {
	return m.State == stateFormed && slices.Contains(m.Initial, self)
}

// acquaintance is what a peer says of itself, heard lately at its configured address.
type acquaintance struct {
	Self       string   // name/directory id
	Names      []string // its own list of peers, sorted
	Membership membership
}

var (
	errOtherPeers    = errors.New("peers are configured differently")
	errHalfFormed    = errors.New("a data directory was replaced while the cluster was forming: empty all of them and start again")
	errOldDirectory  = errors.New("this data directory is an older copy: set it aside and start with an empty one")
	errTwoFormations = errors.New("peers belong to different clusters of the same name")
)

// advance is the next membership of a node, by what its live peers say; the same one if there is nothing to do. An error is
// for the operator, and lasts as long as its cause.
func (m membership) advance(cluster, self string, names []string, peers map[string]acquaintance) (membership, error) {
	if m.member() {
		return m, nil
	}
	if next, found, err := m.join(self, peers); found || err != nil {
		return next, err
	}
	initial := []string{self}
	for _, name := range names {
		if name == nodeOf(self) {
			continue
		}
		p, ok := peers[name]
		if !ok {
			return m, nil // not all are here
		}
		if !slices.Equal(p.Names, names) {
			return m, fmt.Errorf("%w: %s has %s, this node has %s", errOtherPeers, name, strings.Join(p.Names, ","), strings.Join(names, ","))
		}
		initial = append(initial, p.Self)
	}
	slices.Sort(initial)
	if m.State == stateEmpty {
		return membership{State: statePromised, Initial: initial}, nil
	}
	if !slices.Equal(m.Initial, initial) {
		return m, fmt.Errorf("%w: promised %s, now here are %s", errHalfFormed, strings.Join(m.Initial, ","), strings.Join(initial, ","))
	}
	for _, p := range peers {
		if p.Membership.State != statePromised || !slices.Equal(p.Membership.Initial, m.Initial) {
			return m, nil
		}
	}
	return membership{State: stateFormed, Initial: m.Initial, Formation: formationID(cluster, m.Initial)}, nil
}

// join looks for a formed cluster among the peers.
func (m membership) join(self string, peers map[string]acquaintance) (next membership, found bool, err error) {
	for _, p := range peers {
		f := p.Membership
		if !f.member() {
			continue
		}
		if found && f.Formation != next.Formation {
			return m, true, errTwoFormations
		}
		found = true
		next = membership{State: stateJoined, Initial: f.Initial, Formation: f.Formation}
		if slices.Contains(f.Initial, self) {
			if m.State != statePromised || !slices.Equal(m.Initial, f.Initial) {
				return m, true, errOldDirectory
			}
			next.State = stateFormed
		}
	}
	return next, found, nil
}

func formationID(cluster string, initial []string) string {
	h := sha256.Sum256([]byte(cluster + "\x00" + strings.Join(initial, "\x00")))
	return hex.EncodeToString(h[:16])
}

// nodeOf is the node name in "name/directory id" or in a server id.
func nodeOf(self string) string {
	name, _, _ := strings.Cut(self, "/")
	return name
}

// serverID names a replica of a group: node, directory, and how often the group's log was given up in it. A new
// directory, or a log that has forgotten acknowledgements, is a new server to Raft, so that it never votes in its
// predecessor's name.
func serverID(self string, life uint32) string { return fmt.Sprintf("%s.%d", self, life) }

// directoryOf is the "name/directory id" in a server id.
func directoryOf(server string) string {
	if i := strings.LastIndexByte(server, '.'); i >= 0 {
		return server[:i]
	}
	return server
}
