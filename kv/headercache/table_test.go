package headercache

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// TestTable holds a table against a map, with keys of all lengths.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, model := newTable(), map[string]layout.Header{}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			if rapid.IntRange(0, 50).Draw(t, "reset") == 0 {
				table.reset()
				clear(model)
			}
			key := rapid.SliceOfN(rapid.ByteRange('a', 'c'), 0, 3).Draw(t, "key")
			if rapid.IntRange(0, 30).Draw(t, "long") == 0 {
				key = append(key, make([]byte, rapid.SampledFrom([]int{1000, chunkBytes - recordKey, 2 * chunkBytes}).Draw(t, "length"))...)
			}
			h := layout.Header{Create: rand.Int64(), Mod: rand.Int64(), Version: rand.Int64(), Lease: rand.Int64(), Size: rand.Int64()}
			table.set(key, h)
			model[string(key)] = h
		}
		for key, want := range model {
			if h, ok := table.get([]byte(key)); !ok || h != want {
				t.Fatalf("%.20q of %d bytes: %v, %t; want %v", key, len(key), h, ok, want)
			}
		}
		if _, ok := table.get([]byte("not there")); ok {
			t.Fatal("a key that was never set is found")
		}
	})
}

// TestTableWithOneHash: keys of the same hash are told apart.
func TestTableWithOneHash(t *testing.T) {
	table := newTable()
	var at recordRef
	for i := range 3 {
		_, at = table.add(at, fmt.Appendf(nil, "key-%d", i))
	}
	for i := range 3 {
		if table.find(at, fmt.Appendf(nil, "key-%d", i)) == nil {
			t.Errorf("key %d is not found", i)
		}
	}
	if table.find(at, []byte("key-3")) != nil {
		t.Error("a key of the same hash is taken for another")
	}
}

func BenchmarkTable(b *testing.B) {
	table := newTable()
	keys := make([][]byte, 1<<17)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "bench/%016d", i)
		table.set(keys[i], layout.Header{Version: 1})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		key := keys[i*7919%len(keys)]
		h, _ := table.get(key)
		table.set(key, h)
	}
}
