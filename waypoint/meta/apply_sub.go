package meta

import (
	"cmp"
	"slices"
)

func (o *create) apply(a *application) Outcome {
	k := keyOf(o.identity)
	has, taken := a.names[k]
	next, coming := a.incoming[k]
	switch {
	case coming:
		return Outcome{Fit: Taken, ID: next}
	case taken && has != o.replaces:
		return Outcome{Fit: Taken, ID: has}
	case !taken && o.replaces != 0:
		return Outcome{Fit: Missing} // what it was to replace is gone: whoever asks looks again
	case a.made == maxPlaces:
		return Outcome{Fit: Early}
	}
	s := &Subscription{
		ID: SubscriptionID(a.index, a.made), Identity: o.identity, Address: o.address, Terminus: o.terminus,
		Asked: o.asked, Named: o.named, Limits: o.limits, LimitsVersion: a.index,
		State: Creating, Left: a.time, LeftBy: ConnectionClosed, Created: a.time, CreatedBy: o.by, Replaces: o.replaces,
	}
	a.made++
	a.subs[s.ID] = s
	a.Machine.index(s)
	a.touch(s.ID)
	return Outcome{ID: s.ID}
}

func (o *capture) apply(a *application) Outcome {
	s := a.subs[o.id]
	if s == nil || s.State != Creating {
		return Outcome{Fit: Missing}
	}
	if s.Captured {
		return Outcome{}
	}
	var c Capture
	if had := a.captures[s.Address]; had != nil {
		c = *had
	} else {
		c = Capture{Address: s.Address, Appeared: a.index}
		a.noteCapture(s.Address)
	}
	c.Count++
	a.keepCapture(&c)
	a.change(o.id, func(s *Subscription) {
		s.Captured, s.Epoch, s.LimitsKept = true, c.Appeared, min(o.limitsKept, s.LimitsVersion)
	})
	return Outcome{}
}

func (a *application) keepCapture(c *Capture) {
	if c.Count == 0 {
		delete(a.captures, c.Address)
	} else {
		a.captures[c.Address] = c
	}
	if a.changedCaptures == nil {
		a.changedCaptures = map[string]struct{}{}
	}
	a.changedCaptures[c.Address] = struct{}{}
}

func (o *activate) apply(a *application) Outcome {
	s := a.subs[o.id]
	if s == nil || s.State == Removing || !s.Captured {
		return Outcome{Fit: Missing}
	}
	if s.State == Active {
		return Outcome{}
	}
	if s.Replaces != 0 {
		old := a.subs[s.Replaces]
		if old != nil && old.State != Removing {
			a.startRemoving(old.ID, "replaced: the same names were attached to another address")
		}
	}
	a.change(o.id, func(s *Subscription) {
		s.State, s.Activated, s.Epoch, s.Left, s.LeftBy = Active, a.index, 0, a.time, ConnectionClosed
		s.Gaps = a.cutOff()
	})
	return Outcome{}
}

// cutOff lists the routers that may be letting messages through by themselves. One that has started again is not among them as
// it was before: a data directory has one process.
func (a *application) cutOff() []IsolatedGap {
	var gaps []IsolatedGap
	for _, r := range a.routers {
		if r.Lost != 0 && !a.supersededLocked(r.Holder()) {
			gaps = append(gaps, IsolatedGap{Holder: r.Holder()})
		}
	}
	slices.SortFunc(gaps, func(x, y IsolatedGap) int { return compareHolders(x.Holder, y.Holder) })
	return gaps
}

func (o *attach) apply(a *application) Outcome {
	s := a.subs[o.id]
	if s == nil || s.State != Active {
		return Outcome{Fit: Missing}
	}
	out := Outcome{Gen: s.Gen + 1}
	if s.Left == 0 {
		out.Before = s.Holder
	}
	a.change(o.id, func(s *Subscription) {
		s.Gen, s.Holder, s.Left, s.LeftBy = s.Gen+1, o.holder, 0, 0
		s.Terminus = o.terminus
	})
	return out
}

func (o *leave) apply(a *application) Outcome {
	s := a.subs[o.id]
	switch {
	case s == nil || s.State == Removing:
		return Outcome{Fit: Missing}
	case o.gen != s.Gen:
		return Outcome{Fit: Late}
	case s.Left != 0 && o.event <= s.LeftBy && s.LeftBy != RouterLost:
		return Outcome{}
	}
	a.change(o.id, func(s *Subscription) { s.Left, s.LeftBy = a.time, o.event })
	return Outcome{}
}

func (o *setLimits) apply(a *application) Outcome {
	s := a.subs[o.id]
	if s == nil || s.State == Removing {
		return Outcome{Fit: Missing}
	}
	a.change(o.id, func(s *Subscription) {
		s.Asked, s.Named = o.asked, o.named
		if s.Limits != o.limits {
			s.Limits, s.LimitsVersion = o.limits, a.index
		}
	})
	return Outcome{}
}

func (o *limitsKept) apply(a *application) Outcome {
	s := a.subs[o.id]
	if s == nil || s.State == Removing {
		return Outcome{Fit: Missing}
	}
	if o.version > s.LimitsKept {
		a.change(o.id, func(s *Subscription) { s.LimitsKept = min(o.version, s.LimitsVersion) })
	}
	return Outcome{}
}

func (o *expire) apply(a *application) Outcome {
	s := a.subs[o.id]
	if s == nil || s.State != Active {
		return Outcome{Fit: Missing}
	}
	at, ends := s.expiresAt()
	if !ends {
		return Outcome{Fit: Late} // somebody has attached
	}
	if a.time < at {
		return Outcome{Fit: Early}
	}
	a.startRemoving(o.id, "expired: nobody was attached for its timeout")
	return Outcome{}
}

func (o *remove) apply(a *application) Outcome {
	s := a.subs[o.id]
	if s == nil || s.State == Removing {
		return Outcome{}
	}
	if o.gen != 0 && o.gen != s.Gen {
		return Outcome{Fit: Late, Gen: s.Gen}
	}
	out := Outcome{Gen: s.Gen}
	if s.Left == 0 {
		out.Before = s.Holder
	}
	a.startRemoving(o.id, o.reason)
	return out
}

// startRemoving frees the names at once: what is attached under them from here on is another subscription.
func (a *application) startRemoving(id uint64, reason string) {
	a.change(id, func(s *Subscription) {
		s.State, s.Reason, s.Epoch = Removing, reason, 0
	})
}

func (o *uncapture) apply(a *application) Outcome {
	s := a.subs[o.id]
	if s == nil || s.State != Removing {
		return Outcome{Fit: Missing}
	}
	if !s.Captured {
		return Outcome{}
	}
	c := *a.captures[s.Address]
	c.Count--
	vanished := uint64(0)
	if c.Count == 0 {
		a.noteCapture(s.Address)
		vanished = a.index
	}
	a.keepCapture(&c)
	a.change(o.id, func(s *Subscription) { s.Captured, s.Epoch = false, cmp.Or(vanished, s.Epoch) })
	return Outcome{}
}

func (o *deleteSub) apply(a *application) Outcome {
	s := a.subs[o.id]
	if s == nil {
		return Outcome{}
	}
	if s.State != Removing || s.Captured {
		return Outcome{Fit: Missing}
	}
	a.unindex(s)
	delete(a.subs, o.id)
	a.touch(o.id)
	return Outcome{}
}
