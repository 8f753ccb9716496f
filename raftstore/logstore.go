package raftstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/raftstore/wal"
)

// logStores are a member's durable Raft state: the log, and the term and vote beside it.
type logStores struct {
	stable raft.StableStore
	log    *writeBehind
	// grown counts the bytes of entries stored since it was last taken.
	grown   *atomic.Int64
	closers []io.Closer
}

func openLogStores(dir string, config *Config, segmentBytes int64, counted *instruments) (_ *logStores, err error) {
	if err := durable.MakeDir(dir); err != nil {
		return nil, err
	}
	s := &logStores{grown: new(atomic.Int64)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	stable, err := openBolt(filepath.Join(dir, "stable.db"), config.UnsafeNoSync)
	if err != nil {
		return nil, err
	}
	s.stable, s.closers = stable, append(s.closers, stable)
	if err := chooseLogStore(dir, config.LogStore); err != nil {
		return nil, err
	}
	store, err := s.openLog(dir, config, segmentBytes, counted)
	if err != nil {
		return nil, err
	}
	if err := durable.SyncDir(dir); err != nil { // bbolt does not for the files that it makes
		return nil, err
	}
	s.log = newWriteBehind(newLogCache(countingStore{store, s.grown}, config.LogCacheBytes))
	s.closers = append(s.closers, s.log)
	return s, nil
}

func (s *logStores) openLog(dir string, config *Config, segmentBytes int64, counted *instruments) (raft.LogStore, error) {
	if config.LogStore == LogStoreBoltDB {
		store, err := openBolt(filepath.Join(dir, "log.db"), config.UnsafeNoSync)
		if err != nil {
			return nil, err
		}
		s.closers = append(s.closers, store)
		return store, nil
	}
	store, err := wal.Open(filepath.Join(dir, "wal"), wal.Options{
		SegmentBytes: segmentBytes, Logger: config.Logger, OnSync: counted.synced, OnWrite: counted.wrote,
		UnsafeNoSync: config.UnsafeNoSync,
	})
	if err != nil {
		return nil, fmt.Errorf("open the Raft log: %w", err)
	}
	s.closers = append(s.closers, store)
	return store, nil
}

func openBolt(path string, noSync bool) (*raftboltdb.BoltStore, error) {
	store, err := raftboltdb.New(raftboltdb.Options{
		Path: path, NoSync: noSync,
		BoltOptions: &bbolt.Options{
			// The free list is rebuilt on open instead of being written with every commit.
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
			Timeout:        time.Second,
		},
		MsgpackUseNewTimeFormat: true,
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return store, nil
}

// chooseLogStore refuses a directory whose log is in the other kind of store: opening an empty one beside
// it would forget acknowledged writes.
func chooseLogStore(dir, kind string) error {
	other, path := LogStoreWAL, filepath.Join(dir, "wal")
	if kind == LogStoreWAL {
		other, path = LogStoreBoltDB, filepath.Join(dir, "log.db")
	}
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("the log in %s is kept in the %q store: start with that one", dir, other)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (s *logStores) Close() error {
	var err error
	for i := len(s.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, s.closers[i].Close())
	}
	return err
}

// countingStore counts the bytes that go into a log.
type countingStore struct {
	raft.LogStore
	grown *atomic.Int64
}

func (s countingStore) StoreLogs(logs []*raft.Log) error {
	var bytes int64
	for _, log := range logs {
		bytes += int64(len(log.Data))
	}
	s.grown.Add(bytes)
	return s.LogStore.StoreLogs(logs)
}

func (s countingStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// IsMonotonic implements raft.MonotonicLogStore.
func (s countingStore) IsMonotonic() bool {
	store, ok := s.LogStore.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}
