package storage

import "sort"

// Bytes is what the entries of the log take, keys and values before compression. It never blocks.
func (l *Log) Bytes() int64 {
	b := l.snapshot()
	return int64(b.cum - b.before)
}

// BytesAfter is what the entries above index i take, counted as Bytes counts. It reads one entry.
func (l *Log) BytesAfter(i uint64) (int64, error) {
	leave, err := l.s.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	return l.bytesAfter(i)
}

func (l *Log) bytesAfter(i uint64) (int64, error) {
	b := l.snapshot()
	switch {
	case b.empty() || i >= b.last:
		return 0, nil
	case i < b.first:
		return int64(b.cum - b.before), nil
	}
	cum, err := l.counted(i)
	if err != nil {
		return 0, err
	}
	return int64(b.cum - min(cum, b.cum)), nil // the tail may have been replaced since
}

// EntriesWithin is how many entries at the end of the log take at most so many bytes. It reads a few entries.
func (l *Log) EntriesWithin(bytes int64) (uint64, error) {
	leave, err := l.s.enter()
	if err != nil {
		return 0, err
	}
	defer leave()
	b := l.snapshot()
	if b.empty() {
		return 0, nil
	}
	var failed error
	n := sort.Search(int(b.last-b.first)+1, func(n int) bool { // the first n that is too many, but for one
		after, err := l.bytesAfter(b.last - uint64(n) - 1)
		if err != nil {
			failed = err
		}
		return after > bytes
	})
	return uint64(n), failed
}

// counted is how many bytes there are up to and with entry i.
func (l *Log) counted(i uint64) (uint64, error) {
	e, err := l.seek(i, parseEntryCount)
	return e.cum, err
}
