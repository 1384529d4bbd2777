package meta

import "time"

// tick does what only time brings about.
func (r *reign) tick(now time.Time) {
	r.tickRequests(now)
	r.goOnWithSteps()
	r.expireSubscriptions()
	r.forgetRouters()
}

// goOnWithSteps sees to it that somebody works at whatever is not finished, however it came about.
func (r *reign) goOnWithSteps() {
	for _, id := range r.m.listUnfinished() {
		if r.tasks[id] == nil {
			r.advance(id)
		}
	}
}

// expireSubscriptions removes those whose link has been gone for longer than their timeout, by the time of entries: the entry
// that says so decides, not this node's clock.
func (r *reign) expireSubscriptions() {
	for _, id := range r.m.expired(r.cfg.Group.Now()) {
		if _, ok := r.expires[id]; ok {
			continue
		}
		r.expires[id] = struct{}{}
		r.do(&expire{id}, func(out Outcome) {
			delete(r.expires, id)
			if s := r.m.sub(id); out.Fit == Done && s != nil {
				r.log.Info("a durable subscription has expired", "subscription", s.Name(), "id", id, "address", s.Address)
				r.advance(id)
			}
		})
	}
}

func (r *reign) forgetRouters() {
	before := r.cfg.Group.Now() - r.cfg.ForgetAfter.Milliseconds()
	for _, known := range r.m.Routers() {
		if known.Lost != 0 && known.Seen < before {
			r.do(&forget{known.Holder()}, nil)
		}
	}
}
