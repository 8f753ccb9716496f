package raftlog

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"weak"

	"github.com/hashicorp/raft"
)

// TestLogCacheAgreesWithItsStore writes and cuts at random and compares every entry with the store beneath.
func TestLogCacheAgreesWithItsStore(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	beneath := raft.NewInmemStore()
	cache := newLogCache(beneath, 200)
	next, first := uint64(1), uint64(1)
	for range 2000 {
		switch random.IntN(5) {
		case 0: // cut the old end, as a snapshot does
			if cut := first + uint64(random.IntN(20)); cut+1 < next {
				if err := cache.DeleteRange(first, cut); err != nil {
					t.Fatal(err)
				}
				first = cut + 1
			}
		case 1: // cut the new end, as a new leader does
			if back := next - uint64(random.IntN(4)); back > first && back < next {
				if err := cache.DeleteRange(back, next-1); err != nil {
					t.Fatal(err)
				}
				next = back
			}
		default:
			var logs []*raft.Log
			for range 1 + random.IntN(4) {
				logs = append(logs, &raft.Log{Index: next, Term: random.Uint64(), Data: make([]byte, random.IntN(60))})
				next++
			}
			if err := cache.StoreLogs(logs); err != nil {
				t.Fatal(err)
			}
		}
		bytes := 0
		for _, log := range cache.entries {
			bytes += len(log.Data)
		}
		if bytes != cache.bytes || (bytes > 200 && len(cache.entries) > 1) {
			t.Fatalf("holds %d bytes in %d entries, counts %d", bytes, len(cache.entries), cache.bytes)
		}
		for index := first - min(first, 3); index < next+3; index++ {
			var have, want raft.Log
			errHave, errWant := cache.GetLog(index, &have), beneath.GetLog(index, &want)
			if errHave != errWant || have.Term != want.Term || len(have.Data) != len(want.Data) {
				t.Fatalf("entry %d of %d to %d: %v %v, beneath %v %v", index, first, next, have.Term, errHave, want.Term, errWant)
			}
		}
	}
}

// future stands for what Raft makes of a proposal: the log is a part of it, as are the answers of the state machine.
type future struct {
	log     raft.Log
	answers []byte
}

// forgetful is a log store that keeps nothing.
type forgetful struct{ raft.LogStore }

func (forgetful) StoreLogs([]*raft.Log) error { return nil }

// TestLogCacheKeepsNoAnswers: an entry that is kept for followers must not keep the answers to its commands alive.
func TestLogCacheKeepsNoAnswers(t *testing.T) {
	cache := newLogCache(forgetful{}, 1<<20)
	f := &future{log: raft.Log{Index: 1, Data: []byte("entry")}, answers: make([]byte, 1<<10)}
	if err := cache.StoreLogs([]*raft.Log{&f.log}); err != nil {
		t.Fatal(err)
	}
	gone := weak.Make(f)
	runtime.GC()
	if gone.Value() != nil {
		t.Error("the cache keeps what the entry was a part of")
	}
	var log raft.Log
	if err := cache.GetLog(1, &log); err != nil || string(log.Data) != "entry" {
		t.Errorf("%v, %v", log, err)
	}
}
