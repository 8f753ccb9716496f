package raftlog

import (
	"testing"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/wal"
)

// TestLogThatEndsBeforeASnapshotIsEmptied is the state that a crash leaves between the installation of a
// snapshot and the clearing of the log.
func TestLogThatEndsBeforeASnapshotIsEmptied(t *testing.T) {
	for _, test := range []struct {
		name     string
		snapshot uint64
		next     uint64 // what must be possible to append
	}{{"behind", 100, 101}, {"level", 50, 51}, {"ahead", 20, 51}} {
		t.Run(test.name, func(t *testing.T) {
			log, err := wal.Open(t.TempDir(), wal.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			for index := uint64(1); index <= 50; index++ {
				if err := log.StoreLog(&raft.Log{Index: index, Term: 1}); err != nil {
					t.Fatal(err)
				}
			}
			if err := DropBefore(log, test.snapshot); err != nil {
				t.Fatal(err)
			}
			if err := log.StoreLog(&raft.Log{Index: test.next, Term: 2}); err != nil {
				t.Errorf("append %d: %v", test.next, err)
			}
			if last, err := log.LastIndex(); err != nil || last != test.next {
				t.Errorf("the log ends at %d, %v; want %d", last, err, test.next)
			}
		})
	}
}
