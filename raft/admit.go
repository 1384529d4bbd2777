package raft

import (
	hraft "github.com/hashicorp/raft"
)

// snapshotMark is where the durable snapshot record stands.
type snapshotMark struct{ index, term uint64 }

// admit decides on an RPC before Raft's main goroutine sees it. It returns false when the RPC has been answered.
func (t *transport) admit(rpc hraft.RPC) bool {
	g := t.inst.group
	if g.fenced.Load() {
		rpc.Respond(nil, errFenced)
		return false
	}
	switch req := rpc.Command.(type) {
	case *hraft.AppendEntriesRequest:
		adaptAppend(req, g.log.First(), g.mark())
	case *hraft.InstallSnapshotRequest:
		return t.admitSnapshot(rpc, req)
	}
	return true
}

func (t *transport) admitSnapshot(rpc hraft.RPC, req *hraft.InstallSnapshotRequest) bool {
	g := t.inst.group
	if req.Size != 0 {
		// Raft would read it from the network on its main goroutine, for ever if the sender goes quiet.
		rpc.Respond(nil, errTicketBody)
		return false
	}
	term := t.inst.raft.CurrentTerm()
	switch {
	case req.Term < term: // an old leader's: Raft says so
		return true
	case req.LastLogIndex <= g.mark().index:
		// We have that one or a newer one. Raft would take its own indexes and its configuration back to it.
		rpc.Respond(&hraft.InstallSnapshotResponse{RPCHeader: hraft.RPCHeader{ProtocolVersion: 3}, Term: term, Success: true}, nil)
		return false
	case !g.holds(req.LastLogIndex):
		rpc.Respond(nil, errNotStaged)
		return false
	}
	return true
}

// adaptAppend makes two things right that hashicorp/raft's follower gets wrong.
//
// It takes the leader's commit index up to the end of its own log, though the request proves only what it carries: what lies
// behind may conflict with the leader's log. (Raft, figure 2: min of the commit index and the last new entry.)
//
// It cannot compare entries that are behind its snapshot, not even the snapshot's own index, and refuses. A leader that was
// refused a few times for a passing reason, or missed an answer, comes there; it would then send its own snapshot, perhaps an
// older one, again and again. But all that a snapshot covers is committed, so a leader of the same or a newer term has it:
// these entries are left out, and what follows them needs no other proof than the snapshot's term.
func adaptAppend(req *hraft.AppendEntriesRequest, first uint64, snap snapshotMark) {
	prev, n := req.PrevLogEntry, uint64(len(req.Entries))
	req.LeaderCommitIndex = min(req.LeaderCommitIndex, prev+n)
	if prev == 0 && n == 0 {
		return // a heartbeat
	}
	if prev > snap.index || first != 0 && first <= prev {
		return // Raft can compare it
	}
	covered := min(snap.index-prev, n) // entries that the snapshot has
	switch {
	case covered > 0 && prev+covered == snap.index && req.Entries[covered-1].Term != snap.term,
		covered == 0 && prev == snap.index && req.PrevLogTerm != snap.term:
		return // impossible, or not a leader of ours: Raft refuses it
	}
	req.Entries = req.Entries[covered:]
	req.PrevLogEntry, req.PrevLogTerm = 0, 0 // nothing to compare
}

// mark is where the snapshot record stands, zero if there is none.
func (g *Group) mark() snapshotMark {
	if m := g.snapMark.Load(); m != nil {
		return *m
	}
	return snapshotMark{}
}

func (g *Group) setMark(index, term uint64) { g.snapMark.Store(&snapshotMark{index, term}) }
