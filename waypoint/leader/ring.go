package leader

import "sort"

// ring is a queue with places: what is in it can be looked at by index, from 0, the oldest. Its memory grows and shrinks with it.
type ring[T any] struct {
	list  []T // a power of two long, or empty
	start int
	n     int
}

const ringMin = 16

func (q *ring[T]) len() int { return q.n }

// at is a place, valid until the next push or pop.
func (q *ring[T]) at(i int) *T { return &q.list[(q.start+i)&(len(q.list)-1)] }

func (q *ring[T]) push(v T) {
	if q.n == len(q.list) {
		q.resize(max(ringMin, 2*q.n))
	}
	q.n++
	*q.at(q.n - 1) = v
}

func (q *ring[T]) pop() T {
	var none T
	v := *q.at(0)
	*q.at(0) = none
	q.start = (q.start + 1) & (len(q.list) - 1)
	q.n--
	if len(q.list) > ringMin && q.n <= len(q.list)/4 {
		q.resize(len(q.list) / 2)
	}
	return v
}

func (q *ring[T]) resize(size int) {
	list := make([]T, size)
	for i := range q.n {
		list[i] = *q.at(i)
	}
	q.list, q.start = list, 0
}

// search is the first index for which f holds, which stays true once it is; len if there is none.
func (q *ring[T]) search(f func(*T) bool) int {
	return sort.Search(q.n, func(i int) bool { return f(q.at(i)) })
}
