package raft

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/posthouse/posthouse/storage"
)

// Each node asks each configured peer, every ReportInterval on a stream that it has dialled, who it is and how it fares,
// telling the same of itself. A message is length u32 and JSON; unknown fields are ignored. Only what is heard at a
// peer's configured address counts: two directories under one name cannot both be there.

const statusMax = 1 << 20

// status is what a node tells of itself.
type status struct {
	Self       string // name/directory id
	Opening    opening
	Names      []string // its configured peers
	Membership membership
	Clock      int64 // Unix milliseconds
	Free       int64
	Total      int64
	Level      storage.SpaceLevel
	Groups     []groupStatus
	Refused    string `json:",omitempty"` // to the one who asked: why it is not dealt with
}

// groupStatus is one group's replica in a status.
type groupStatus struct {
	ID      uint32
	Replica string
	Term    uint64
	Leader  bool
	Last    uint64
	Commit  uint64
	Applied uint64
	// Config and Members are the latest committed configuration that the replica has applied.
	Config  uint64
	Members []string
	// MemberAt is the latest committed configuration known to have had this replica as a member, 0 if there was none.
	MemberAt uint64
}

func (s *status) group(id uint32) *groupStatus {
	for i := range s.Groups {
		if s.Groups[i].ID == id {
			return &s.Groups[i]
		}
	}
	return nil
}

// peer is one other configured node. Fields below name and address are guarded by Node.mu.
type peer struct {
	name    string
	address string
	kick    chan struct{} // ask now

	last  *status   // as last heard at its address
	asked time.Time // when the question was sent
	heard time.Time
	since time.Time // heard without a break, as the same opening
	err   string    // as last logged
}

func newPeer(p Peer) *peer {
	return &peer{name: p.Name, address: p.Address, kick: make(chan struct{}, 1)}
}

// live is how long a peer is believed to be alive after it was heard.
func (c *Config) live() time.Duration { return max(5*c.ReportInterval, 2*c.HeartbeatTimeout) }

// kickAll asks all peers now.
func (n *Node) kickAll() {
	for _, p := range n.peers {
		p.ask()
	}
}

func (p *peer) ask() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// poll asks one peer until the node closes.
func (n *Node) poll(p *peer) {
	pause := n.cfg.ReportInterval
	for n.ctx.Err() == nil {
		err := n.pollOnce(p, func() { pause = n.cfg.ReportInterval })
		if n.ctx.Err() != nil {
			return
		}
		n.lostPeer(p, err)
		select {
		case <-n.ctx.Done():
			return
		case <-p.kick:
		case <-time.After(pause):
		}
		pause = min(2*pause, max(time.Second, n.cfg.ReportInterval))
	}
}

func (n *Node) pollOnce(p *peer, worked func()) error {
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.RPCTimeout)
	defer cancel()
	c, err := n.dial(ctx, p.name, preamble{Kind: kindControl, From: n.self, To: p.name})
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(n.ctx, func() { _ = c.Close() })()
	tick := time.NewTicker(n.cfg.ReportInterval)
	defer tick.Stop()
	for {
		if err := c.SetDeadline(time.Now().Add(n.cfg.RPCTimeout)); err != nil {
			return err
		}
		asked := time.Now()
		if err := writeMessage(c, n.status()); err != nil {
			return fmt.Errorf("ask: %w", err)
		}
		var s status
		if err := readMessage(c, &s); err != nil {
			return fmt.Errorf("hear: %w", err)
		}
		worked()
		if err := n.heardPeer(p, &s, asked); err != nil {
			return err
		}
		select {
		case <-n.ctx.Done():
			return nil
		case <-p.kick:
		case <-tick.C:
		}
	}
}

// serveControl answers one peer.
func (n *Node) serveControl(c net.Conn) {
	st, err := n.control.add(c, true)
	if err != nil {
		return
	}
	defer st.Close()
	for {
		if err := st.SetDeadline(time.Now().Add(n.cfg.RPCTimeout + 10*n.cfg.ReportInterval)); err != nil {
			return
		}
		var asker status
		if err := readMessage(st, &asker); err != nil {
			return
		}
		s := n.status()
		if err := n.meet(asker.Self, asker.Opening); err != nil {
			s.Refused = err.Error()
		} else {
			n.askedBy(&asker)
		}
		if err := writeMessage(st, s); err != nil {
			return
		}
	}
}

// askedBy asks back at once, if the asker tells something new: only what is heard at its address counts.
func (n *Node) askedBy(s *status) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peers[nodeOf(s.Self)]
	if p != nil && (p.last == nil || p.last.Self != s.Self || p.last.Membership.State != s.Membership.State) {
		p.ask()
	}
}

func (n *Node) status() *status {
	sp := n.space()
	s := &status{
		Self: n.self, Opening: n.opening, Names: n.names, Membership: n.record().Membership,
		Free: sp.Free, Total: sp.Total, Level: sp.Level,
	}
	for _, g := range n.allGroups() {
		s.Groups = append(s.Groups, g.report())
	}
	s.Clock = n.cfg.Clock().UnixMilli()
	return s
}

var errCopy = errors.New("an opening of this directory with a higher epoch, or another one with the same, was seen: " +
	"this is an older copy, which has forgotten what it acknowledged since; set it aside and start with an empty directory")

// meet remembers a directory's opening, synced, and refuses one that is older than what was seen of it before.
func (n *Node) meet(directory string, o opening) error {
	seen, ok := n.record().Seen[directory]
	switch {
	case ok && seen == o:
		return nil
	case ok && o.Epoch <= seen.Epoch:
		return errCopy
	}
	return n.remember(func(r *record) { r.Seen[directory] = o })
}

// heardPeer takes in what a peer has answered.
func (n *Node) heardPeer(p *peer, s *status, asked time.Time) error {
	if nodeOf(s.Self) != p.name {
		return fmt.Errorf("%s answers at the address of %s", nodeOf(s.Self), p.name)
	}
	if s.Refused == errCopy.Error() {
		n.stopCopy()
	}
	if s.Refused != "" {
		return fmt.Errorf("refused: %s", s.Refused)
	}
	if err := n.meet(s.Self, s.Opening); err != nil {
		return err
	}
	now := time.Now()
	n.mu.Lock()
	if p.last == nil || p.last.Opening != s.Opening || p.last.Self != s.Self || now.Sub(p.heard) > n.cfg.live() {
		p.since = now
	}
	p.last, p.asked, p.heard, p.err = s, asked, now, ""
	close(n.news)
	n.news = make(chan struct{})
	n.mu.Unlock()
	return nil
}

func (n *Node) lostPeer(p *peer, err error) {
	if err == nil {
		return
	}
	n.mu.Lock()
	// What comes from the network names ports and the like; once for each cause is enough.
	again := p.err != ""
	p.err = err.Error()
	n.mu.Unlock()
	var r *refusal
	switch {
	case again:
	case errors.As(err, &r), errors.Is(err, errCopy):
		n.logger.Warn("peer does not take part", "peer", p.name, "error", err)
	default:
		n.logger.Info("peer is out of reach", "peer", p.name, "error", err)
	}
}

// stopCopy: a peer says that this directory is an older copy of one that it has seen. Nothing of it may vote.
func (n *Node) stopCopy() {
	n.setTrouble(errCopy.Error())
	n.mu.Lock()
	n.copied = true
	n.mu.Unlock()
	for _, g := range n.allGroups() {
		g.remove(errCopy.Error())
	}
}

// heardOf returns what a peer has told, if it is live.
func (n *Node) heardOf(name string) (s *status, asked, since time.Time, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peers[name]
	if p == nil || p.last == nil || time.Since(p.heard) > n.cfg.live() {
		return nil, time.Time{}, time.Time{}, false
	}
	return p.last, p.asked, p.since, true
}

func (n *Node) acquaintances() map[string]acquaintance {
	n.mu.Lock()
	defer n.mu.Unlock()
	as := map[string]acquaintance{}
	for name, p := range n.peers {
		if p.last != nil && time.Since(p.heard) <= n.cfg.live() {
			as[name] = acquaintance{Self: p.last.Self, Names: p.last.Names, Membership: p.last.Membership}
		}
	}
	return as
}

// dial opens a stream to a peer and has it accepted.
func (n *Node) dial(ctx context.Context, name string, p preamble) (net.Conn, error) {
	to := n.peers[name]
	if to == nil {
		return nil, fmt.Errorf("dial %s: not among the configured peers", name)
	}
	c, err := n.cfg.Dial(ctx, to.address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", name, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	p.Cluster = n.cfg.Store.Identity().Cluster
	p.Opening = n.opening
	err = n.greet(c, p)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("dial %s: %w", name, err)
	}
	return c, nil
}

// greet says who we are and hears who answers.
func (n *Node) greet(c net.Conn, p preamble) error {
	if err := c.SetDeadline(time.Now().Add(n.cfg.RPCTimeout)); err != nil {
		return err
	}
	if _, err := c.Write(p.append(nil)); err != nil {
		return err
	}
	text, err := readAnswer(c)
	if err != nil {
		return err
	}
	if p.Kind != kindControl { // there, the status tells
		o, err := parseOpening(text)
		if err != nil {
			return err
		}
		if err := n.meet(directoryOf(p.To), o); err != nil {
			return err
		}
	}
	return c.SetDeadline(time.Time{})
}

// route decides what an accepted connection is for.
func (n *Node) route(p preamble) (func(net.Conn), answer) {
	if p.Cluster != n.cfg.Store.Identity().Cluster {
		return nil, answer{verdictCluster, fmt.Sprintf("this node is of cluster %q", n.cfg.Store.Identity().Cluster)}
	}
	from := nodeOf(p.From)
	if n.peers[from] == nil {
		return nil, answer{verdictRefused, fmt.Sprintf("%q is not among this node's configured peers", from)}
	}
	if p.Kind == kindControl {
		if p.To != n.Name() {
			return nil, answer{verdictRefused, fmt.Sprintf("this is %q", n.Name())}
		}
		return n.serveControl, answer{Text: n.opening.String()}
	}
	if err := n.meet(directoryOf(p.From), p.Opening); err != nil {
		return nil, answer{verdictRefused, err.Error()}
	}
	if m := n.record().Membership; !m.member() || p.Formation != m.Formation {
		return nil, answer{verdictCluster, "this node is of another forming of the cluster, or of none yet"}
	}
	g := n.group(p.Group)
	if g == nil {
		return nil, answer{verdictNoGroup, fmt.Sprintf("group %d is not open here", p.Group)}
	}
	return g.route(p)
}

func writeMessage(w io.Writer, v any) error {
	b := make([]byte, 4, 1024)
	j, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b = append(b, j...)
	binary.BigEndian.PutUint32(b, uint32(len(j)))
	_, err = w.Write(b)
	return err
}

func readMessage(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > statusMax {
		return fmt.Errorf("message of %d bytes", size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
