package router

import (
	"sync"
	"sync/atomic"

	"github.com/posthouse/posthouse/router/amqp"
)

// annotationTo carries the address of a message between nodes, as a delivery annotation.
const annotationTo amqp.Symbol = "x-opt-posthouse-to"

// address is one address and where its direct messages go. A publisher holds on to it, so that publishing looks
// nothing up.
type address struct {
	name    string
	to      amqp.Change             // the delivery annotation that tells another node the address
	outlets atomic.Pointer[outlets] // copied when it changes; read without a lock

	// guarded by table.mu
	users  int // publishers and outlets that hold it
	locals int // outlets of clients of this node
}

// outlets are where an address's direct messages go. It is never changed.
type outlets struct {
	all    []*outlet
	remote bool // another node is among them
}

var noOutlets = &outlets{}

func (a *address) targets() *outlets {
	if o := a.outlets.Load(); o != nil {
		return o
	}
	return noOutlets
}

func (a *address) setLocked(all []*outlet) {
	now := &outlets{all: all}
	for _, o := range all {
		now.remote = now.remote || o.remote()
	}
	a.outlets.Store(now)
}

// table is all addresses in use.
type table struct {
	mu        sync.Mutex
	addresses map[string]*address
	// wanted is called under mu when this node begins or ends to want an address's messages from the others.
	wanted func(name string, begin bool)
}

func newTable(wanted func(name string, begin bool)) *table {
	return &table{addresses: map[string]*address{}, wanted: wanted}
}

// acquire returns the address of that name and keeps it in the table until release.
func (t *table) acquire(name string) *address {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.acquireLocked(name)
}

func (t *table) acquireLocked(name string) *address {
	a := t.addresses[name]
	if a == nil {
		a = &address{name: name, to: amqp.Set(annotationTo, name)}
		t.addresses[name] = a
	}
	a.users++
	return a
}

func (t *table) release(a *address) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.releaseLocked(a)
}

func (t *table) releaseLocked(a *address) {
	if a.users--; a.users == 0 {
		delete(t.addresses, a.name)
	}
}

// add makes messages to an address go to o as well.
func (t *table) add(name string, o *outlet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.acquireLocked(name)
	old := a.targets().all
	a.setLocked(append(old[:len(old):len(old)], o))
	if !o.remote() {
		if a.locals++; a.locals == 1 {
			t.wanted(name, true)
		}
	}
}

// remove undoes add.
func (t *table) remove(name string, o *outlet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.addresses[name]
	if a == nil {
		return
	}
	old := a.targets().all
	now := make([]*outlet, 0, len(old))
	for _, x := range old {
		if x != o {
			now = append(now, x)
		}
	}
	if len(now) == len(old) {
		return
	}
	a.setLocked(now)
	if !o.remote() {
		if a.locals--; a.locals == 0 {
			t.wanted(name, false)
		}
	}
	t.releaseLocked(a)
}

// withLocals calls f with the addresses that clients of this node receive from, while none comes or goes.
func (t *table) withLocals(f func(names []string)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for name, a := range t.addresses {
		if a.locals > 0 {
			names = append(names, name)
		}
	}
	f(names)
}

// targets finds where messages to an address go.
func (t *table) targets(name string) *outlets {
	t.mu.Lock()
	a := t.addresses[name]
	t.mu.Unlock()
	if a == nil {
		return noOutlets
	}
	return a.targets()
}
