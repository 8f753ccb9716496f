package offline

// Room is asked before so many more bytes are written beside a store. Its error ends the work. It may be nil.
type Room func(bytes int64) error

func (r Room) take(bytes int) error {
	if r == nil {
		return nil
	}
	return r(int64(bytes))
}
