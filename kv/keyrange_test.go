package kv

import (
	"testing"

	"github.com/ctlplane/ctlplane/kv/layout"
	"github.com/ctlplane/ctlplane/kv/layout/layouttest"
)

// FuzzKeyRange checks that the bounds of ranges hold the versions of their keys and no others.
func FuzzKeyRange(f *testing.F) {
	for i, a := range layouttest.Keys {
		f.Add(a, layouttest.Keys[len(layouttest.Keys)-1-i], int64(i))
	}
	f.Fuzz(func(t *testing.T, a, b []byte, rev int64) {
		if rev < 0 {
			return
		}
		for _, r := range []keyRange{newKeyRange(a, nil), newKeyRange(a, b), newKeyRange(a, []byte{0})} {
			lower, upper := r.bounds()
			for _, key := range [][]byte{a, b} {
				for _, mark := range []byte{layout.MarkTombstone, layout.MarkValue} {
					k := layout.AppendVersionKey(nil, key, rev, mark)
					inside := layout.CompareKeys(lower, k) <= 0 && layout.CompareKeys(k, upper) < 0
					if inside != r.contains(key) {
						t.Fatalf("%q in %q..%q: %v by its storage key", key, r.lo, r.hi, inside)
					}
				}
			}
		}
	})
}
