//go:build cgo && linux

package kv

/*
#include <malloc.h>

// Blocks and memory tables lie outside of Go's heap. As glibc has it the process would hold several times what is in use: what is
// freed in the arena of one thread is of no use to another, and memory tables, once freed, are carved up for blocks.
static void tidy_malloc(void) {
#ifdef M_ARENA_MAX
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 8 << 10); // so that what is freed is given back at once
#endif
}
*/
import "C"

func init() { C.tidy_malloc() }
