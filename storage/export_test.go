package storage

// SetTableBytes makes staged tables small, so that an import has several.
func (s *Store) SetTableBytes(n int64) { s.tableBytes = n }
