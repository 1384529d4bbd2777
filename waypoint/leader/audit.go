package leader

import (
	"context"
	"time"
)

// audit asks meta which of the cursors here belong to subscriptions that it has ended or never made, until it answers. What a dead
// leader of meta left half done is cleared away by it, and what somebody who no longer led did too late.
func (r *reign) audit() {
	registry := r.l.cfg.Registry
	if registry == nil || r.auditing {
		return
	}
	var subs []uint64
	for _, cur := range r.m.Cursors() {
		subs = append(subs, cur.Sub)
	}
	if len(subs) == 0 {
		return
	}
	r.auditing = true
	r.wg.Go(func() {
		ended, ok := askUntilAnswered(r.ctx, registry, subs)
		r.post(func(r *reign) {
			r.auditing = false
			if ok && len(ended) > 0 {
				r.l.log.Info("cursors of subscriptions that are over are dropped", "subscriptions", ended)
				r.ends = append(r.ends, ended...)
			}
		})
	})
}

const (
	auditRetryMin = 200 * time.Millisecond
	auditRetryMax = 30 * time.Second
)

func askUntilAnswered(ctx context.Context, registry Registry, subs []uint64) (ended []uint64, ok bool) {
	for pause := auditRetryMin; ; pause = min(2*pause, auditRetryMax) {
		ended, err := registry.Ended(ctx, subs)
		if err == nil {
			return ended, true
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, false
		case <-timer.C:
		}
	}
}
