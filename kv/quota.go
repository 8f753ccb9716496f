package kv

// LiveBytes is the size of the keys and values that can be read at the present revision: what a quota counts.
func (s *Store) LiveBytes() int64 { return s.current.Load().bytes }
