package kv

import (
	"context"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// Defragment has the database rewritten without what was deleted or replaced, and returns when that is done or with ctx's
// error. The database does as much by itself, sooner or later; this is for who wants the space at once. Readers and
// writers go on meanwhile. For a time it needs as much room again as the data takes.
func (s *Store) Defragment(ctx context.Context) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := s.untilClosed(ctx)
	defer cancel()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	defer s.db.pace.hurry()()
	if err := s.db.Flush(); err != nil {
		return err
	}
	lower, _ := layout.SectionBounds(layout.SectionAttachment)
	_, upper := layout.SectionBounds(layout.SectionHistory)
	if err := s.db.Compact(ctx, lower, upper, false); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}
