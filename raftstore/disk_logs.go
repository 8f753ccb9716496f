package raftstore

import (
	"errors"
	"os"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// patientLog is a log store that gives up the disk's reserve before it refuses entries. It does not wait: a
// leader that can't store entries has to leave the lead to one who can, a follower to say so.
type patientLog struct {
	raft.LogStore
	disk *disk
}

// StoreLog implements raft.LogStore.
func (l patientLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore.
func (l patientLog) StoreLogs(logs []*raft.Log) error {
	err := l.LogStore.StoreLogs(logs)
	if isFull(err) && l.disk.full() {
		err = l.LogStore.StoreLogs(logs)
	}
	return err
}

// IsMonotonic implements raft.MonotonicLogStore.
func (l patientLog) IsMonotonic() bool {
	store, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}

// patientStable is a stable store that waits for room: Raft ends the process if it can't store its term. It
// hardly ever has to, see claimStable.
type patientStable struct {
	raft.StableStore
	disk *disk
	work *diskWork
}

// Set implements raft.StableStore.
func (s patientStable) Set(key, value []byte) error {
	return s.try(func() error { return s.StableStore.Set(key, value) })
}

// SetUint64 implements raft.StableStore.
func (s patientStable) SetUint64(key []byte, value uint64) error {
	return s.try(func() error { return s.StableStore.SetUint64(key, value) })
}

func (s patientStable) try(set func() error) error {
	for {
		room := s.disk.room.Next()
		s.work.begin(1)
		err := set()
		s.work.end(1)
		if !isFull(err) || s.disk.serving.Err() != nil {
			return err
		}
		if s.disk.full() {
			continue
		}
		timer := s.disk.clock.NewTimer(diskPeriod)
		select {
		case <-room:
		case <-timer.C():
		case <-s.disk.serving.Done():
		}
		timer.Stop()
	}
}

// stableBytes is more than term and vote ever take: they are written over and over in pages of the same file.
const stableBytes = 256 << 10

// claimStable claims the space of the file that has the term and the vote.
func claimStable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = allocate(f, unix.FALLOC_FL_KEEP_SIZE, stableBytes)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
