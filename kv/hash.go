package kv

import (
	"context"
	"encoding/binary"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// Hash is a checksum (CRC-32C) by which members find out whether they hold the same. It does not depend on how far a
// member's background compaction has come, nor on anything else but the commands that were applied.
type Hash struct {
	Sum uint32
	// Revision is the one that the sum is of. CompactRevision is that of the member when it made the sum: those of HashHistory
	// compare only where both are the same. It is 0 if nothing was compacted yet.
	Revision, CompactRevision int64
	// Current is the member's revision.
	Current int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// hashed are the sections that Hash sums up beside the versions. The rest follows from them, or is of this member alone.
var hashed = []byte{layout.SectionAttachment, layout.SectionLease}

// HashKV sums up what can be read at a revision; 0 is the current one. A compaction doesn't change it, so it compares between
// members that have compacted otherwise. The time that it takes is in proportion to the data; nothing waits for it. Errors:
// ErrCompacted and ErrFutureRevision, ctx's error, ErrClosed, or a disk failure.
func (s *Store) HashKV(ctx context.Context, revision int64) (Hash, error) {
	return s.hash(ctx, revision, (*versionHasher).contents)
}

// HashHistory is HashKV with the history before the revision, as far as it is not compacted.
func (s *Store) HashHistory(ctx context.Context, revision int64) (Hash, error) {
	return s.hash(ctx, revision, (*versionHasher).versions)
}

// Hash is HashHistory of all there is, with the leases and what hangs on them. It compares only between members that have
// applied the same entries.
func (s *Store) Hash(ctx context.Context) (Hash, error) {
	return s.hash(ctx, 0, (*versionHasher).everything)
}

func (s *Store) hash(ctx context.Context, revision int64, sum func(*versionHasher, context.Context, pebble.Reader) error) (Hash, error) {
	release, err := s.use()
	if err != nil {
		return Hash{}, err
	}
	defer release()
	ctx, cancel := s.untilClosed(ctx)
	defer cancel()
	view := s.db.NewSnapshot()
	defer view.Close()
	at, err := layout.ReadState(view)
	if err != nil {
		return Hash{}, err
	}
	switch {
	case revision <= 0:
		revision = at.Revision
	case revision < at.Compact:
		return Hash{}, ErrCompacted
	case revision > at.Revision:
		return Hash{}, ErrFutureRevision
	}
	h := versionHasher{upto: revision, compact: at.Compact}
	if err := sum(&h, ctx, view); err != nil {
		return Hash{}, err
	}
	return Hash{Sum: h.sum, Revision: revision, CompactRevision: at.Compact, Current: at.Revision}, nil
}

// untilClosed returns a context that ends with ctx, or when the store is being closed.
func (s *Store) untilClosed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-s.closing:
			cancel(ErrClosed)
		case <-stopped:
		}
	}()
	return ctx, func() {
		close(stopped)
		<-ended
		cancel(nil)
	}
}

// versionHasher sums up versions as they come from the database: key by key, the newest first.
//
// Invariant: what versions leaves out is exactly what the compaction at compact removes sooner or later, so that the sum is
// the same before, during and after that.
type versionHasher struct {
	upto, compact int64
	sum           uint32

	key    []byte
	hidden bool // the versions of key that follow are needed by no revision that can be read
}

// contents sums up the version of each key that can be read at upto. The sum of none is not that of a sum never made.
func (h *versionHasher) contents(ctx context.Context, reader pebble.Reader) error {
	h.sum = crc32.Update(h.sum, castagnoli, []byte{layout.SectionVersion})
	err := each(ctx, reader, keyRange{}, h.upto, func(s *scanner) (bool, error) {
		v, err := s.it.ValueAndErr()
		if err != nil {
			return false, err
		}
		return true, h.write(s.it.Key(), v)
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// everything sums up versions and the other sections. The sum of none of them is not that of a sum never made, either.
func (h *versionHasher) everything(ctx context.Context, reader pebble.Reader) error {
	h.sum = crc32.Update(h.sum, castagnoli, hashed)
	if err := h.versions(ctx, reader); err != nil {
		return err
	}
	for _, section := range hashed {
		if err := layout.EachMeta(reader, section, h.write); err != nil {
			return err
		}
	}
	return nil
}

// versions sums up those up to upto that can be read at some revision.
func (h *versionHasher) versions(ctx context.Context, reader pebble.Reader) error {
	seen := 0
	return layout.EachMeta(reader, layout.SectionVersion, func(k, v []byte) error {
		if seen++; seen%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		key, revision, tombstone, ok := layout.DecodeVersionKey(k)
		if !ok {
			return layout.ErrCorruptRecord
		}
		if string(key) != string(h.key) {
			h.key, h.hidden = append(h.key[:0], key...), false
		}
		if revision > h.upto || h.hidden {
			return nil
		}
		if revision <= h.compact {
			h.hidden = true
			if tombstone {
				return nil
			}
		}
		return h.write(k, v)
	})
}

func (h *versionHasher) write(k, v []byte) error {
	var length [binary.MaxVarintLen64]byte
	h.sum = crc32.Update(h.sum, castagnoli, length[:binary.PutUvarint(length[:], uint64(len(k)))])
	h.sum = crc32.Update(h.sum, castagnoli, k)
	h.sum = crc32.Update(h.sum, castagnoli, length[:binary.PutUvarint(length[:], uint64(len(v)))])
	h.sum = crc32.Update(h.sum, castagnoli, v)
	return nil
}
