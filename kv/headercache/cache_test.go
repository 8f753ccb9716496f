package headercache

import (
	"fmt"
	"testing"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// TestCacheIsBounded by bytes: long keys don't make it grow.
func TestCacheIsBounded(t *testing.T) {
	c := New(1000, 0)
	for i := range 100 {
		key := make([]byte, 100_000)
		copy(key, fmt.Sprint(i))
		c.Set(key, layout.Header{Version: 1})
		c.Rotate(uint64(i))
	}
	size := 0
	for _, table := range []*table{c.young, c.old} {
		for _, chunk := range table.chunks {
			size += cap(chunk)
		}
	}
	if size > 2*chunkBytes {
		t.Errorf("%d bytes of keys are cached", size)
	}
}
