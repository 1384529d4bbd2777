package leader

import (
	"errors"
	"time"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/waypoint/shard"
)

// turn is one command: under construction, and then on its way until it is applied. Its lists run parallel to the command's.
type turn struct {
	cmd   shard.Command
	bytes int // about the command's size

	opens    []*session
	requests []*request
	endsAt   []shard.Cursor // of End: as they were
	attaches []*link
	leaves   []*link
	settles  []*cursor
	marks    []*cursor
	takes    []take
	topics   []*topicTurn
	plans    map[uint64]*plan // by subscription

	data  []byte
	began time.Time
	retry time.Time // raft was overloaded: propose it again then
}

// plan is what the command does to one subscription's backlog, beside publishing.
type plan struct {
	settled shard.Totals  // confirmed, rejected and given up
	given   []shard.Range // given up
	through uint64        // what is not in flight is given up to here
}

func (t *turn) plan(sub uint64) *plan {
	p := t.plans[sub]
	if p == nil {
		if t.plans == nil {
			t.plans = map[uint64]*plan{}
		}
		p = new(plan)
		t.plans[sub] = p
	}
	return p
}

// reset empties a turn and keeps its memory.
func (t *turn) reset() {
	t.cmd.Reset()
	clear(t.opens)
	clear(t.requests)
	clear(t.attaches)
	clear(t.leaves)
	clear(t.settles)
	clear(t.marks)
	clear(t.takes)
	clear(t.topics)
	clear(t.plans)
	*t = turn{
		cmd: t.cmd, opens: t.opens[:0], requests: t.requests[:0], attaches: t.attaches[:0], leaves: t.leaves[:0],
		settles: t.settles[:0], marks: t.marks[:0], takes: t.takes[:0], topics: t.topics[:0], plans: t.plans,
	}
}

// takeTurn makes one command of what waits and proposes it. Nothing is in flight, so the state is the one that the
// command will be applied to.
func (r *reign) takeTurn() {
	t := &r.spare
	t.reset()
	clear(r.found)
	r.openLanes(t)
	r.ackRefusals(t)
	r.forgetLanes(t)
	r.takeRequests(t)
	r.takeAttaches(t)
	r.takeOutcomes(t)
	r.takeLeaves(t)
	r.recheckLimits(t) // before publishes: a new reign's first turn
	r.expire(t)
	r.takeTrims(t)
	r.takePublishes(t)
	r.takeMarks(t)
	if t.cmd.Empty() {
		return
	}
	t.data = t.cmd.Encode(make([]byte, 0, t.bytes+t.bytes/8+512))
	t.began = r.now
	for sub, p := range t.plans {
		if c := r.cursors[sub]; c != nil && len(p.given) > 0 {
			c.evicting = true
		}
	}
	r.flying = t
	r.propose()
}

// propose hands the command in flight to raft.
func (r *reign) propose() {
	t := r.flying
	t.retry = time.Time{}
	r.l.cfg.Raft.Propose(r.turn, t.data, func(result any, err error) {
		r.post(func(r *reign) { r.proposed(result, err) })
	})
}

// proposeAgain is how long to wait when raft takes no more.
const proposeAgain = 5 * time.Millisecond

// proposed learns the fate of the command in flight.
func (r *reign) proposed(result any, err error) {
	t := r.flying
	if errors.Is(err, raft.ErrOverloaded) {
		// It was not proposed and nothing else was: it still fits. Those who wait for it keep waiting, and their
		// windows hold back the rest.
		t.retry = r.now.Add(proposeAgain)
		r.l.metrics.overloads.Inc()
		return
	}
	if err != nil {
		// Not applied, or nobody knows. What this reign believes may be wrong from here on: the next one begins from
		// what is applied, and agents learn from it what became of what they have sent.
		r.end("a command did not get through: " + err.Error())
		return
	}
	res, ok := result.(*shard.Result)
	if !ok {
		r.l.log.Error("the state machine answered something else than a shard's result")
		r.end("the state machine is not a shard's")
		return
	}
	if res.Err != nil {
		r.l.log.Error("the shard can't read its leader's command", "error", res.Err)
		r.end("a command was malformed")
		return
	}
	r.applied(t, res)
}

// applied acts on a command that every replica has or will have applied: answer, settle, and let dispatch go on.
func (r *reign) applied(t *turn, res *shard.Result) {
	r.flying = nil
	r.l.metrics.turn(t, r.now)
	for i, s := range t.opens {
		r.welcome(s, res.Lanes[i])
	}
	for _, c := range t.settles {
		r.outcomesApplied(c)
	}
	r.plansApplied(t)
	r.marksApplied(t)
	r.publishesApplied(t, res)
	for i, k := range t.attaches {
		r.attachApplied(k, res.Attached[i])
	}
	for _, k := range t.leaves {
		r.leaveApplied(k)
	}
	r.requestsApplied(t, res)
	r.trimsApplied(t, res)
	r.checkRefusing(t)
	r.faults(res)
	t.reset() // its payloads are not kept for the next turn's sake
}

// faults are parts of the command that the state machine could not take: decisions of ours on facts that are not so.
// Whatever they concern is looked at anew.
func (r *reign) faults(res *shard.Result) {
	for _, f := range res.Faults {
		r.l.metrics.faults.Inc()
		r.l.log.Error("a part of a command was left out", "part", f.Part, "item", f.Item, "subscription", f.Sub, "reason", f.Reason)
	}
	if len(res.Faults) > 0 {
		r.end("a part of a command was left out")
		r.l.again()
	}
}
