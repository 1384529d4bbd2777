package storage

// recentEntries keeps the newest entries of a log, one unbroken run up to its last index, within a number of
// bytes. It is guarded by the log's mutex.
type recentEntries struct {
	limit   int64
	bytes   int64
	entries []Entry // entries[skip:] are kept
	skip    int
}

func (c *recentEntries) get(i uint64) (Entry, bool) {
	kept := c.entries[c.skip:]
	if len(kept) == 0 || i < kept[0].Index || i > kept[len(kept)-1].Index {
		return Entry{}, false
	}
	return kept[i-kept[0].Index], true
}

// add appends e, whose bytes the cache owns from now on, and drops what is too much at the front.
func (c *recentEntries) add(e Entry) {
	c.entries = append(c.entries, e)
	c.bytes += int64(entrySize(&e))
	for c.bytes > c.limit {
		c.dropFirst()
	}
}

func (c *recentEntries) dropFirst() {
	e := &c.entries[c.skip]
	c.bytes -= int64(entrySize(e))
	*e = Entry{}
	c.skip++
	if c.skip == len(c.entries) {
		c.entries, c.skip = c.entries[:0], 0
	} else if c.skip > 256 && c.skip > len(c.entries)/2 {
		n := copy(c.entries, c.entries[c.skip:])
		clear(c.entries[n:])
		c.entries, c.skip = c.entries[:n], 0
	}
}

// cutFrom drops the entries from i on, cutBefore those below i.
func (c *recentEntries) cutFrom(i uint64) {
	for n := len(c.entries); n > c.skip && c.entries[n-1].Index >= i; n = len(c.entries) {
		c.bytes -= int64(entrySize(&c.entries[n-1]))
		c.entries[n-1] = Entry{}
		c.entries = c.entries[:n-1]
	}
}

func (c *recentEntries) cutBefore(i uint64) {
	for len(c.entries) > c.skip && c.entries[c.skip].Index < i {
		c.dropFirst()
	}
}
