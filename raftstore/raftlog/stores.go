// Package raftlog keeps a member's Raft log, and its term and vote, on disk.
//
// An entry goes through these, the first nearest to Raft:
//
//	WriteBehind   lets a leader go on before its own disk has an entry
//	Options.Wrap  what the member puts before its disk
//	logCache      keeps the newest entries in memory
//	countingStore counts how much the log has grown
//	wal.Log, or raft-boltdb: the disk
//
// Term and vote are in a store of their own (Stores.Stable). Raft may use all of it as it uses any log and stable store, and
// several goroutines may read. Whoever opens a directory holds the lock on it.
package raftlog

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/raftstore/wal"
)

// The kinds of store to keep the log in.
const (
	WAL    = "wal"    // raftstore/wal: one sync a commit
	BoltDB = "boltdb" // raft-boltdb: two
)

// Options say how the log is kept. Kind and Logger are required.
type Options struct {
	Kind string
	// NoSync leaves everything to the operating system.
	NoSync bool
	// CacheBytes bounds the recent entries that are kept in memory, SegmentBytes is the size of a file of the log.
	CacheBytes   int
	SegmentBytes int64
	// CutBytes is the growth that Stores.Growth tells of.
	CutBytes int64
	// Wrap wraps the store that queued entries are written to; nil: nothing does.
	Wrap   func(raft.LogStore) raft.LogStore
	Logger *slog.Logger
	// OnSync and OnWrite are told how long the disk took; see wal.Options.
	OnSync  func(took time.Duration)
	OnWrite func(bytes int64, took time.Duration)
	// OnFailed is told that the log takes no more entries; see wal.Options. boltdb's never fails so.
	OnFailed func(error)
}

// Stores are a member's durable Raft state: the log, and the term and vote beside it.
type Stores struct {
	Stable raft.StableStore
	Log    *WriteBehind
	// Growth is the log's.
	Growth  *Growth
	closers []io.Closer
}

// Open opens what is in a directory, which is made when missing.
func Open(dir string, options Options) (_ *Stores, err error) {
	if err := durable.MakeDir(dir); err != nil {
		return nil, err
	}
	s := &Stores{Growth: NewGrowth(options.CutBytes)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	stable, err := openBolt(StablePath(dir), options.NoSync)
	if err != nil {
		return nil, err
	}
	s.Stable, s.closers = stable, append(s.closers, stable)
	if err := chooseLogStore(dir, options.Kind); err != nil {
		return nil, err
	}
	store, err := s.openLog(dir, options)
	if err != nil {
		return nil, err
	}
	if err := durable.SyncDir(dir); err != nil { // bbolt does not for the files that it makes
		return nil, err
	}
	store = newLogCache(countingStore{store, s.Growth}, options.CacheBytes)
	if options.Wrap != nil {
		store = options.Wrap(store)
	}
	s.Log = newWriteBehind(store)
	s.closers = append(s.closers, s.Log)
	return s, nil
}

// StablePath is the file of the term and the vote, in the directory of a log.
func StablePath(dir string) string { return filepath.Join(dir, "stable.db") }

func (s *Stores) openLog(dir string, options Options) (raft.LogStore, error) {
	if options.Kind == BoltDB {
		store, err := openBolt(filepath.Join(dir, "log.db"), options.NoSync)
		if err != nil {
			return nil, err
		}
		s.closers = append(s.closers, store)
		return store, nil
	}
	store, err := wal.Open(filepath.Join(dir, "wal"), wal.Options{
		SegmentBytes: options.SegmentBytes, Logger: options.Logger, OnSync: options.OnSync, OnWrite: options.OnWrite, OnFailed: options.OnFailed,
		UnsafeNoSync: options.NoSync,
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
	other, path := WAL, filepath.Join(dir, "wal")
	if kind == WAL {
		other, path = BoltDB, filepath.Join(dir, "log.db")
	}
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("the log in %s is kept in the %q store: start with that one", dir, other)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Close closes all of them, the last that was opened first.
func (s *Stores) Close() error {
	var err error
	for i := len(s.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, s.closers[i].Close())
	}
	return err
}

// KeyCurrentTerm is where Raft keeps its term in the stable store.
var KeyCurrentTerm = []byte("CurrentTerm")

// CurrentTerm is the term that is stored, 0 before the first.
func CurrentTerm(stable raft.StableStore) (uint64, error) {
	term, err := stable.GetUint64(KeyCurrentTerm)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return 0, nil
	}
	return term, err
}

// DropBefore empties a log that ends before a snapshot. Raft clears the log after it has installed a
// snapshot; a crash in between leaves one that the entries after the snapshot can't be appended to.
func DropBefore(log raft.LogStore, snapshot uint64) error {
	first, err := log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := log.LastIndex()
	if err != nil || last == 0 || last >= snapshot {
		return err
	}
	return log.DeleteRange(first, last)
}
