package kv

import (
	"context"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// scanner walks the keys that exist at a revision, in their order.
type scanner struct {
	it   *pebble.Iterator
	rev  int64
	seek []byte

	// Where the scanner is. key is valid until the next call of next.
	key []byte
	mod int64
}

// newScanner makes a scanner of the keys in r as they were at rev. The caller closes it.
func newScanner(reader pebble.Reader, r keyRange, rev int64) (*scanner, error) {
	lower, upper := r.bounds()
	it, err := reader.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	return &scanner{it: it, rev: rev}, nil
}

// first goes to the first key. It returns false at the end and on error.
func (s *scanner) first() bool { return s.settle(s.it.First()) }

// next goes to the next key.
func (s *scanner) next() bool { return s.settle(s.it.NextPrefix()) }

// settle goes from where the iterator is to the newest version that is not newer than the revision, of the
// first key that has one that is not a tombstone.
func (s *scanner) settle(valid bool) bool {
	for valid {
		key, mod, tombstone, ok := layout.DecodeVersionKey(s.it.Key())
		switch {
		case !ok:
			return false
		case mod > s.rev:
			valid = s.skipNewer(key)
		case tombstone:
			valid = s.it.NextPrefix()
		default:
			s.key, s.mod = key, mod
			return true
		}
	}
	return false
}

// skipNewer leaves the versions of key that are newer than the revision. There are mostly one or two, for
// which a step is cheaper than a seek.
func (s *scanner) skipNewer(key []byte) bool {
	s.seek = layout.AppendVersionKey(s.seek[:0], key, s.rev, layout.MarkTombstone)
	for range 3 {
		if !s.it.Next() {
			return false
		}
		if layout.CompareKeys(s.it.Key(), s.seek) >= 0 {
			return true
		}
	}
	return s.it.SeekGE(s.seek)
}

// record reads the version that the scanner is at. The value is valid until the next call.
func (s *scanner) record() (layout.Header, []byte, error) {
	b, err := s.it.ValueAndErr()
	if err != nil {
		return layout.Header{}, nil, err
	}
	return layout.DecodeRecord(s.key, s.mod, b)
}

func (s *scanner) close() error { return s.it.Close() }

// each calls visit for every key of r at rev. The scanner's key and record are for visit to use; they and
// what they alias are valid until it returns. visit returns false to stop.
func each(ctx context.Context, reader pebble.Reader, r keyRange, rev int64, visit func(*scanner) (bool, error)) (err error) {
	if r.empty() {
		return nil
	}
	s, err := newScanner(reader, r, rev)
	if err != nil {
		return err
	}
	defer func() {
		if e := s.close(); err == nil {
			err = e
		}
	}()
	visited := 0
	for ok := s.first(); ok; ok = s.next() {
		more, err := visit(s)
		if err != nil || !more {
			return err
		}
		if visited++; visited%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return s.it.Error()
}
