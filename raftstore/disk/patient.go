package disk

import (
	"errors"
	"os"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// PatientLog is a log store that gives up the disk's reserve before it refuses entries. It does not wait: a
// leader that can't store entries has to leave the lead to one who can, a follower to say so.
func (d *Disk) PatientLog(store raft.LogStore) raft.LogStore { return patientLog{store, d} }

type patientLog struct {
	raft.LogStore
	disk *Disk
}

// StoreLog implements raft.LogStore.
func (l patientLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore.
func (l patientLog) StoreLogs(logs []*raft.Log) error {
	err := l.LogStore.StoreLogs(logs)
	if IsFull(err) && l.disk.GiveUpReserve() {
		err = l.LogStore.StoreLogs(logs)
	}
	return err
}

// IsMonotonic implements raft.MonotonicLogStore.
func (l patientLog) IsMonotonic() bool {
	store, ok := l.LogStore.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}

// PatientStable is a stable store that waits for room: Raft ends the process if it can't store its term. It
// hardly ever has to, see ClaimStable. Its writes are counted in work.
func (d *Disk) PatientStable(store raft.StableStore, work *Work) raft.StableStore {
	return patientStable{store, d, work}
}

type patientStable struct {
	raft.StableStore
	disk *Disk
	work *Work
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
		s.work.Begin(1)
		err := set()
		s.work.End(1)
		if !IsFull(err) || s.disk.serving.Err() != nil {
			return err
		}
		if s.disk.GiveUpReserve() {
			continue
		}
		timer := s.disk.clock.NewTimer(Period)
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
