package shard

// order says by what a heap of cursors is ordered.
type order int

const (
	byMessages order = iota // the topic's messages beyond which max-messages is passed
	byBytes                 // likewise max-bytes
	byFloor                 // the floor
	byAge                   // the earliest time at which the oldest message may have passed max-age
	orders
)

// heap holds cursors, the one with the lowest key first. Each cursor knows its place, so that one that moved is set right in
// O(log n), and what nobody looks for costs nothing.
type heap struct {
	order order
	list  []*cursor
}

// set puts c in with that key, or moves it.
func (h *heap) set(c *cursor, key uint64) {
	i := c.place[h.order] - 1
	if i < 0 {
		c.key[h.order] = key
		h.list = append(h.list, c)
		h.up(len(h.list) - 1)
		return
	}
	old := c.key[h.order]
	c.key[h.order] = key
	switch {
	case key < old:
		h.up(i)
	case key > old:
		h.down(i)
	}
}

// remove takes c out, if it is in.
func (h *heap) remove(c *cursor) {
	i := c.place[h.order] - 1
	if i < 0 {
		return
	}
	c.place[h.order] = 0
	last := len(h.list) - 1
	moved := h.list[last]
	h.list[last] = nil
	h.list = h.list[:last]
	if i == last {
		return
	}
	h.put(i, moved)
	h.down(i)
	h.up(moved.place[h.order] - 1)
}

// top is the cursor with the lowest key, nil if there is none.
func (h *heap) top() *cursor {
	if len(h.list) == 0 {
		return nil
	}
	return h.list[0]
}

// below calls fn for each cursor whose key is below limit, in no order, and looks at no others but their children.
func (h *heap) below(limit uint64, fn func(*cursor)) { h.belowFrom(0, limit, fn) }

func (h *heap) belowFrom(i int, limit uint64, fn func(*cursor)) {
	if i >= len(h.list) || h.list[i].key[h.order] >= limit {
		return
	}
	fn(h.list[i])
	h.belowFrom(2*i+1, limit, fn)
	h.belowFrom(2*i+2, limit, fn)
}

func (h *heap) put(i int, c *cursor) {
	h.list[i] = c
	c.place[h.order] = i + 1
}

func (h *heap) up(i int) {
	c := h.list[i]
	for i > 0 {
		parent := (i - 1) / 2
		if h.list[parent].key[h.order] <= c.key[h.order] {
			break
		}
		h.put(i, h.list[parent])
		i = parent
	}
	h.put(i, c)
}

func (h *heap) down(i int) {
	c := h.list[i]
	for {
		child := 2*i + 1
		if child >= len(h.list) {
			break
		}
		if child+1 < len(h.list) && h.list[child+1].key[h.order] < h.list[child].key[h.order] {
			child++
		}
		if c.key[h.order] <= h.list[child].key[h.order] {
			break
		}
		h.put(i, h.list[child])
		i = child
	}
	h.put(i, c)
}
