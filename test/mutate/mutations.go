package main

// edit replaces one piece of a source file, which must be there exactly once.
type edit struct{ file, old, new string }

// mutation is a guard taken away, and the test that must notice.
type mutation struct {
	name    string
	promise string
	edits   []edit
	pkg     string
	test    string
	args    []string // of the test binary
}

var mutations = []mutation{
	{
		name: "log-without-fsync", promise: "G1",
		edits: []edit{{"storage/log.go", `b.Commit(pebble.Sync)`, `b.Commit(pebble.NoSync)`}},
		pkg:   "./test/sim", test: "TestG01PowerLossOfAllNodes",
	},
	{
		name: "snapshot-index-above-the-flush", promise: "G1",
		edits: []edit{{"storage/state_record.go", `	if err := st.s.flushState(ctx); err != nil {
		return err
	}
`, ``}, {"storage/state_record.go", `		OnlyReadGuaranteedDurable: true,
`, ``}},
		pkg: "./test/sim", test: "TestG01PowerLossOfAllNodes",
	},
	{
		name: "lease-ignored", promise: "G2",
		edits: []edit{{"waypoint/agent/agent.go", `if int64(a.cfg.Clock()) < l.expiry.Load() {`, `if l.expiry.Load() > 0 {`}},
		pkg:   "./waypoint/agent", test: "TestG02WakingWithholds",
	},
	{
		name: "lane-window-dropped", promise: "G4",
		edits: []edit{
			{"waypoint/leader/publish.go", `case item.N < s.next:`, `case item.N < s.next && item.Void:`},
			{"waypoint/leader/publish.go", `		s.next++
		bytes += int(size)`, `		s.next = max(s.next, item.N+1)
		bytes += int(size)`},
			{"waypoint/shard/turn_lanes.go", `	case p.N <= l.last:
		return PublishResult{Status: StatusRepeated}
	case p.N != l.last+1:`, `	case p.N > l.last+1:`},
			{"waypoint/shard/turn_lanes.go", `	l.last = p.N
	switch p.Verdict {`, `	l.last = max(l.last, p.N)
	switch p.Verdict {`},
		},
		pkg: "./waypoint/leader", test: "TestG04LaneAcrossLeaderChange",
	},
	{
		name: "delivery-mark-dropped", promise: "G4",
		edits: []edit{{"waypoint/leader/dispatch.go", `if m.seq <= c.seen {`, `if m.seq <= 0*c.seen {`}},
		pkg:   "./waypoint/leader", test: "TestG04",
	},
	{
		name: "refused-but-delivered", promise: "G6",
		edits: []edit{{"router/publisher.go", `p.refused() // before its credit is given anew
		d.done(rejected, admission.Err, b)`, `p.refused()
		p.distribute(d, b)`}},
		pkg: "./router", test: "TestARefusedPublishReachesNobody",
	},
}
