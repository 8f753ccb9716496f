package kv

import (
	"strconv"
	"sync/atomic"
	"testing"
)

// TestAppliedIndexIsOfWhatCanBeRead: a linearizable list of the members lacked the one whose addition had just been applied, as the index
// was there before the member.
func TestAppliedIndexIsOfWhatCanBeRead(t *testing.T) {
	s := open(t, Options{})
	set := func(index uint64) Command {
		return Command{Member: &MemberUpdate{Operation: MemberSet, Member: Member{ID: 1, Name: strconv.FormatUint(index, 10)}}}
	}
	apply(t, s, set(1))
	var ended atomic.Bool
	read := make(chan struct{})
	go func() {
		defer close(read)
		for !ended.Load() {
			applied := s.AppliedIndex()
			if of, err := strconv.ParseUint(s.Members()[0].Name, 10, 64); err != nil || of < applied {
				t.Errorf("entry %d is applied, and the member is of entry %d, %v", applied, of, err)
				return
			}
		}
	}()
	for range 20_000 {
		apply(t, s, set(s.AppliedIndex()+1))
	}
	ended.Store(true)
	<-read
}
