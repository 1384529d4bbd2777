package endpoint

// list is a doubly linked list whose links lie in the elements: the unsettled deliveries of a link, in the order in which they began.
type list[T any, P listed[T]] struct {
	first, last *T
}

// links is embedded in what goes into a list.
type links[T any] struct {
	prev, next *T
}

func (l *links[T]) chain() *links[T] { return l }

type listed[T any] interface {
	*T
	chain() *links[T]
}

func (l *list[T, P]) pushBack(e *T) {
	k := P(e).chain()
	k.prev, k.next = l.last, nil
	if l.last == nil {
		l.first = e
	} else {
		P(l.last).chain().next = e
	}
	l.last = e
}

func (l *list[T, P]) remove(e *T) {
	k := P(e).chain()
	if k.prev == nil {
		l.first = k.next
	} else {
		P(k.prev).chain().next = k.next
	}
	if k.next == nil {
		l.last = k.prev
	} else {
		P(k.next).chain().prev = k.prev
	}
	k.prev, k.next = nil, nil
}
