package kv

// StoredBytes is what a quota counts: all versions that can be read at some revision, each with its key, its value and 64
// bytes. A version counts until a compaction has come to the revision that replaced or deleted it; then it counts no more at
// once, whenever it is removed. It follows from what was applied alone, so it is the same on every member.
func (s *Store) StoredBytes() int64 { return s.current.Load().Stored() }

// LiveBytes is the size of the keys and values that can be read at the present revision.
func (s *Store) LiveBytes() int64 { return s.current.Load().Bytes }
