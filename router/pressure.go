package router

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
	"github.com/posthouse/posthouse/router/endpoint"
)

// PressureLevel is how near publishes are to being refused for want of room.
type PressureLevel uint8

const (
	PressureNone PressureLevel = iota
	PressureLow                // publishers have less credit
	PressureFull               // captured publishes are refused
)

func (l PressureLevel) String() string { return [...]string{"ok", "low", "full"}[min(l, PressureFull)] }

// Pressure is why publishers have less credit.
type Pressure struct {
	Level  PressureLevel
	Reason string // disk, memory
}

// lowShare is the part of a publisher's window that it has at PressureLow.
const lowShare = 64

// propPressure tells a publisher, in the properties of a flow, why it has less credit; "ok" when it has it again.
const propPressure amqp.Symbol = "posthouse:pressure"

// memoryMarks watches the payloads in this node's memory: from low on all publishers have less credit, from full on what would have to
// be kept, or to wait, is refused, and at the budget's limit, which lies above, the readers wait.
type memoryMarks struct {
	budget    *endpoint.Budget
	low, full int64
	level     atomic.Uint32
	changed   func()
}

func newMemoryMarks(b *endpoint.Budget, changed func()) *memoryMarks {
	return &memoryMarks{budget: b, low: b.Limit() / 4 * 3, full: b.Limit() / 8 * 7, changed: changed}
}

// refuses is asked for each publish that is captured or withheld.
func (m *memoryMarks) refuses() bool {
	used := m.budget.Used()
	return used >= m.low && m.look(used) == PressureFull
}

// look finds the level. The way back is an eighth of the limit longer than the way there.
func (m *memoryMarks) look(used int64) PressureLevel {
	before := PressureLevel(m.level.Load())
	low, full := m.low, m.full
	if before >= PressureLow {
		low -= m.budget.Limit() / 8
	}
	if before == PressureFull {
		full -= m.budget.Limit() / 8
	}
	level := PressureNone
	switch {
	case used >= full:
		level = PressureFull
	case used >= low:
		level = PressureLow
	}
	if level != before && m.level.CompareAndSwap(uint32(before), uint32(level)) {
		m.changed()
	}
	return level
}

var errNoMemory = &amqp.Error{Condition: amqp.ErrCondResourceLimitExceeded, Description: "not kept: this node's memory is used up",
	Info: map[amqp.Symbol]any{"reason": "memory", "retry-after-ms": uint32(1000)}}

// publishers are all links of clients that publish.
type publishers struct {
	mu   sync.Mutex
	all  map[*publisher]struct{}
	wake chan struct{}
}

func (h *publishers) add(p *publisher) {
	h.mu.Lock()
	h.all[p] = struct{}{}
	h.mu.Unlock()
}

func (h *publishers) remove(p *publisher) {
	h.mu.Lock()
	delete(h.all, p)
	h.mu.Unlock()
}

// pressed makes watchPressure look again. It never blocks.
func (h *publishers) pressed() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// memoryEvery is how often the memory in use is looked at: it rises and falls where nobody could tell.
const memoryEvery = 100 * time.Millisecond

// watchPressure gives publishers the credit that there is room for.
func (r *Router) watchPressure(ctx context.Context) {
	t := time.NewTicker(memoryEvery)
	defer t.Stop()
	told := PressureNone
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			r.memory.look(r.budget.Used())
			continue
		case <-r.publishers.wake:
		}
		if level := PressureLevel(r.memory.level.Load()); level != told {
			told = level
			r.metrics.memory.Set(float64(level))
			r.cfg.Logger.Warn("memory level changes", "to", level.String(), "used", r.budget.Used(), "limit", r.budget.Limit())
		}
		r.publishers.mu.Lock()
		list := make([]*publisher, 0, len(r.publishers.all))
		for p := range r.publishers.all {
			list = append(list, p)
		}
		r.publishers.mu.Unlock()
		for _, p := range list {
			p.resize()
		}
	}
}

// pressureAt is the worst that publishers to an address have to heed.
func (r *Router) pressureAt(address string) Pressure {
	p := r.store.Pressure(address)
	if level := PressureLevel(r.memory.level.Load()); level > p.Level {
		return Pressure{level, "memory"}
	}
	return p
}

// resize gives the link the window that there is room for now.
func (p *publisher) resize() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resizeLocked()
}

func (p *publisher) resizeLocked() {
	whole := uint32(p.router.cfg.LinkCredit)
	now := p.router.pressureAt(p.address.name)
	share := whole
	p.knows = p.knows && now.Level == PressureFull
	switch {
	case now.Level == PressureLow:
		share = max(whole/lowShare, 1)
	case p.knows:
		share = 0
	case now.Level == PressureFull:
		share = 1 // who has no credit can't be told why
	}
	before := whole - p.withheld
	p.withheld = whole - share
	switch {
	case share < before:
		p.link.Withhold(before - share)
	case share > before:
		p.link.Grant(share-before, nil)
	}
	if now == p.pressure {
		return
	}
	p.pressure = now
	if now.Level != PressureNone {
		p.router.metrics.narrowed.WithLabelValues(now.Reason).Inc()
	}
	p.tellLocked()
}

// tellLocked tells the publisher why its credit is what it is.
func (p *publisher) tellLocked() {
	text := p.pressure.Level.String()
	if p.pressure.Reason != "" {
		text += ": " + p.pressure.Reason
	}
	p.link.SetFlowProperties(map[amqp.Symbol]any{propPressure: text}, nil)
}

// refused notes that the publisher has heard a refusal: while nothing can be kept it gets no credit for more.
func (p *publisher) refused() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pressure.Level == PressureFull && !p.knows {
		p.knows = true
		p.resizeLocked()
	}
}
