package kv

import (
	"bytes"
	"context"

	"github.com/cockroachdb/pebble/v2"
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
		key, mod, tombstone, ok := decodeVersionKey(s.it.Key())
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
	s.seek = appendVersionKey(s.seek[:0], key, s.rev, markTombstone)
	for range 3 {
		if !s.it.Next() {
			return false
		}
		if compareKeys(s.it.Key(), s.seek) >= 0 {
			return true
		}
	}
	return s.it.SeekGE(s.seek)
}

// record reads the version that the scanner is at. The value is valid until the next call.
func (s *scanner) record() (header, []byte, error) {
	b, err := s.it.ValueAndErr()
	if err != nil {
		return header{}, nil, err
	}
	return decodeRecord(s.key, s.mod, b)
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

// lookup returns the version of one key at rev; the zero header if there is none. value is called with the
// value if it is not nil; what it is given is valid until it returns.
func lookup(it *pebble.Iterator, scratch *[]byte, key []byte, rev int64, value func([]byte)) (header, error) {
	*scratch = appendVersionKey((*scratch)[:0], key, rev, markTombstone)
	if !it.SeekPrefixGE(*scratch) {
		return header{}, it.Error()
	}
	found, mod, tombstone, ok := decodeVersionKey(it.Key())
	if !ok || tombstone || !bytes.Equal(found, key) {
		return header{}, nil
	}
	b, err := it.ValueAndErr()
	if err != nil {
		return header{}, err
	}
	h, v, err := decodeRecord(key, mod, b)
	if err == nil && value != nil {
		value(v)
	}
	return h, err
}

// eachMeta calls visit for everything in a section that holds no versions.
func eachMeta(reader pebble.Reader, section byte, visit func(k, v []byte) error) error {
	lower, upper := sectionBounds(section)
	return eachBetween(reader, lower, upper, visit)
}

func eachBetween(reader pebble.Reader, lower, upper []byte, visit func(k, v []byte) error) (err error) {
	it, err := reader.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() {
		if e := it.Close(); err == nil {
			err = e
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if err := visit(it.Key(), v); err != nil {
			return err
		}
	}
	return it.Error()
}
