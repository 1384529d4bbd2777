package storage

import "sync"

// spaceWatcher hands the latest Space to one function, on its own goroutine, so that a slow one holds back
// neither the disk's writers nor the other watchers.
type spaceWatcher struct {
	told chan struct{} // one place: more news meanwhile are the same news
	quit chan struct{}
	once sync.Once
	done chan struct{}
}

func (sp *space) watch(fn func(Space)) (stop func()) {
	w := &spaceWatcher{
		told: make(chan struct{}, 1),
		quit: make(chan struct{}),
		done: make(chan struct{}),
	}
	sp.mu.Lock()
	if sp.watchers != nil {
		sp.watchers[w] = struct{}{}
	}
	sp.mu.Unlock()
	w.tell()
	go func() {
		defer close(w.done)
		for {
			select {
			case <-w.quit:
				return
			case <-w.told:
				fn(sp.current())
			}
		}
	}()
	return func() {
		sp.mu.Lock()
		delete(sp.watchers, w)
		sp.mu.Unlock()
		w.end()
	}
}

func (w *spaceWatcher) tell() {
	select {
	case w.told <- struct{}{}:
	default:
	}
}

func (w *spaceWatcher) end() {
	w.once.Do(func() { close(w.quit) })
	<-w.done
}
