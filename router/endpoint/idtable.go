package endpoint

import "slices"

// idTable finds deliveries by delivery-id. Ids are handed out in sequence and mostly settled in sequence, so the table is a set of
// pages of consecutive ids: a look-up in the page used last is an index, a delivery that stays unsettled for ever costs one page,
// and a range that a peer names costs no more than there are pages, however large the peer makes it.
type idTable[T any] struct {
	pages  map[uint32]*idPage[T]
	last   *idPage[T] // the page used last, or nil
	lastNo uint32
	n      int
	spare  []*idPage[T]
}

const (
	idPageBits  = 8
	idPageSize  = 1 << idPageBits
	idSpareMost = 4
)

type idPage[T any] struct {
	live int
	slot [idPageSize]*T
}

func (t *idTable[T]) page(no uint32) *idPage[T] {
	if t.last != nil && t.lastNo == no {
		return t.last
	}
	p := t.pages[no]
	if p != nil {
		t.last, t.lastNo = p, no
	}
	return p
}

// put enters v under id; whatever was there is lost.
func (t *idTable[T]) put(id uint32, v *T) {
	no := id >> idPageBits
	p := t.page(no)
	if p == nil {
		if n := len(t.spare); n > 0 {
			p, t.spare = t.spare[n-1], t.spare[:n-1]
		} else {
			p = new(idPage[T])
		}
		if t.pages == nil {
			t.pages = make(map[uint32]*idPage[T])
		}
		t.pages[no] = p
		t.last, t.lastNo = p, no
	}
	s := &p.slot[id%idPageSize]
	if *s == nil {
		p.live++
		t.n++
	}
	*s = v
}

// remove forgets what is under id.
func (t *idTable[T]) remove(id uint32) {
	no := id >> idPageBits
	p := t.page(no)
	if p == nil || p.slot[id%idPageSize] == nil {
		return
	}
	p.slot[id%idPageSize] = nil
	p.live--
	t.n--
	if p.live > 0 {
		return
	}
	delete(t.pages, no)
	t.last = nil
	if len(t.spare) < idSpareMost {
		t.spare = append(t.spare, p)
	}
}

// len is the number of entries.
func (t *idTable[T]) len() int { return t.n }

// each calls f for all entries from first to last in the order of their ids. f may remove the entry that it is called with.
func (t *idTable[T]) each(first, last uint32, f func(id uint32, v *T)) {
	if before(last, first) {
		return
	}
	from, to := first>>idPageBits, last>>idPageBits
	const pageNos = 1 << (32 - idPageBits)
	span := (to - from) % pageNos
	if span <= uint32(len(t.pages)) {
		for i := uint32(0); i <= span; i++ {
			t.eachInPage((from+i)%pageNos, first, last, f)
		}
		return
	}
	var nos []uint32
	for no := range t.pages {
		if (no-from)%pageNos <= span {
			nos = append(nos, no)
		}
	}
	slices.SortFunc(nos, func(a, b uint32) int { return int((a-from)%pageNos) - int((b-from)%pageNos) })
	for _, no := range nos {
		t.eachInPage(no, first, last, f)
	}
}

func (t *idTable[T]) eachInPage(no, first, last uint32, f func(id uint32, v *T)) {
	p := t.page(no)
	if p == nil {
		return
	}
	base := no << idPageBits
	for i := range uint32(idPageSize) {
		if p.live == 0 {
			return // removed by f, and perhaps in use for other ids already
		}
		id := base + i
		if v := p.slot[i]; v != nil && id-first <= last-first {
			f(id, v)
		}
	}
}
