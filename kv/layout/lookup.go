package layout

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"
)

// Lookup returns the version of one key at rev; the zero header if there is none. value is called with the
// value if it is not nil; what it is given is valid until it returns.
func Lookup(it *pebble.Iterator, scratch *[]byte, key []byte, rev int64, value func([]byte)) (Header, error) {
	*scratch = AppendVersionKey((*scratch)[:0], key, rev, MarkTombstone)
	if !it.SeekPrefixGE(*scratch) {
		return Header{}, it.Error()
	}
	found, mod, tombstone, ok := DecodeVersionKey(it.Key())
	if !ok || tombstone || !bytes.Equal(found, key) {
		return Header{}, nil
	}
	b, err := it.ValueAndErr()
	if err != nil {
		return Header{}, err
	}
	h, v, err := DecodeRecord(key, mod, b)
	if err == nil && value != nil {
		value(v)
	}
	return h, err
}

// EachMeta calls visit for everything in a section that holds no versions.
func EachMeta(reader pebble.Reader, section byte, visit func(k, v []byte) error) error {
	lower, upper := SectionBounds(section)
	return EachBetween(reader, lower, upper, visit)
}

// EachBetween calls visit for everything between two storage keys, until visit returns an error, which it returns. What visit is
// given is valid until it returns.
func EachBetween(reader pebble.Reader, lower, upper []byte, visit func(k, v []byte) error) (err error) {
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
