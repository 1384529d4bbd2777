package storage

// SetTableBytes makes staged tables small, so that an import has several.
func (s *Store) SetTableBytes(n int64) { s.tableBytes = n }

// RefreshMarks makes what is synced now durable as marks, without waiting for the next time.
func RefreshMarks(s *Store) error { return s.updateMarks() }
