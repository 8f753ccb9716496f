package raftlog

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

func TestGrowthIsCountedFromCutToCut(t *testing.T) {
	disk := raft.NewInmemStore()
	growth := NewGrowth(100)
	log := countingStore{disk, growth}
	last := uint64(0)
	store := func(bytes int) {
		t.Helper()
		last++
		if err := log.StoreLog(&raft.Log{Index: last, Data: make([]byte, bytes)}); err != nil {
			t.Fatal(err)
		}
	}
	much := func(when string, want bool) {
		t.Helper()
		got := false
		select {
		case <-growth.Much():
			got = true
		default:
		}
		if got != want {
			t.Errorf("%s: told that the log has grown much: %v, want %v", when, got, want)
		}
	}
	store(99)
	much("below the limit", false)
	store(1)
	much("at the limit", true)
	store(500)
	much("told before, not cut", false)

	before := growth.Since()
	if before != (Size{Entries: 3, Bytes: 600}) {
		t.Errorf("grown by %+v", before)
	}
	store(40) // while it is cut
	growth.Cut(before)
	if got := growth.Since(); got != (Size{Entries: 1, Bytes: 40}) {
		t.Errorf("grown by %+v since the cut", got)
	}
	much("after the cut", false)
	store(60)
	before = growth.Since()
	store(150)
	growth.Cut(before)
	much("by what came during a cut", true)
	growth.Cut(growth.Since())
	store(100)
	growth.Cut(growth.Since())
	much("of what is cut off", false)
}

// fullStore takes no entries.
type fullStore struct{ raft.LogStore }

func (fullStore) StoreLogs([]*raft.Log) error { return errors.New("no space left on device") }

func TestGrowthIsOfWhatWasStored(t *testing.T) {
	growth := NewGrowth(1)
	if err := (countingStore{fullStore{raft.NewInmemStore()}, growth}).StoreLog(&raft.Log{Index: 1, Data: []byte("x")}); err == nil {
		t.Error("a full disk took an entry")
	}
	if got := growth.Since(); got != (Size{}) {
		t.Errorf("grown by %+v", got)
	}
}
