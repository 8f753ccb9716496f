package kv

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/kv/layout/layouttest"
)

// TestIndexFindsWatchers compares the index with asking every watcher, while they come and go.
func TestIndexFindsWatchers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x watcherIndex
		all := map[*watcher]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				w := &watcher{keys: newKeyRange(genKey(t), genEnd(t))}
				x.insert(w)
				all[w] = true
			},
			"insert range": func(t *rapid.T) {
				w := &watcher{keys: newKeyRange(rapid.SliceOfN(rapid.Byte(), 1, 3).Draw(t, "lo"), rapid.SliceOfN(rapid.Byte(), 1, 3).Draw(t, "hi"))}
				x.insert(w)
				all[w] = true
			},
			"remove": func(t *rapid.T) {
				for w := range all {
					x.remove(w)
					delete(all, w)
					return
				}
			},
			"": func(t *rapid.T) {
				key := rapid.OneOf(rapid.SampledFrom(layouttest.Keys), rapid.SliceOfN(rapid.Byte(), 1, 3)).Draw(t, "key")
				found := map[*watcher]bool{}
				x.match(key, func(w *watcher) { found[w] = true })
				for w := range all {
					if w.keys.contains(key) != found[w] {
						t.Fatalf("%q in [%q, %q): found %v", key, w.keys.lo, w.keys.hi, found[w])
					}
				}
				count := 0
				x.each(func(*watcher) { count++ })
				if count != len(all) || x.size != count {
					t.Fatalf("%d watchers in the index, it says %d, want %d", count, x.size, len(all))
				}
			},
		})
	})
}
