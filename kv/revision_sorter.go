package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"

	"github.com/cockroachdb/pebble/v2"
)

// revisionSorter puts versions into the order of their revisions, and those of one revision into that of their
// keys. It is a database that is only ever filled and then read once: sorted runs on the disk, as large as a
// memory table, that are merged by the reading.
type revisionSorter struct {
	dir     string
	db      *pebble.DB
	batch   *pebble.Batch
	flusher *flusher
}

const (
	sorterRunBytes   = 64 << 20
	sorterBatchBytes = 1 << 20
)

func newRevisionSorter(dir string, logger *slog.Logger) (*revisionSorter, error) {
	if _, err := os.Stat(dir); err == nil {
		return nil, fmt.Errorf("%s: %w", dir, os.ErrExist)
	}
	options := &pebble.Options{
		DisableWAL:                  true,
		DisableAutomaticCompactions: true,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                sorterRunBytes,
		L0StopWritesThreshold:       math.MaxInt32,
		Logger:                      pebbleLogger{logger},
	}
	f := newFlusher(options)
	db, err := pebble.Open(dir, options)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	f.db = db
	return &revisionSorter{dir: dir, db: db, batch: db.NewBatch(), flusher: f}, nil
}

func (s *revisionSorter) add(rev int64, key, record []byte) error {
	op := s.batch.SetDeferred(8+len(key), len(record))
	binary.BigEndian.PutUint64(op.Key, uint64(rev))
	copy(op.Key[8:], key)
	copy(op.Value, record)
	if err := op.Finish(); err != nil {
		return err
	}
	if s.batch.Len() < sorterBatchBytes {
		return nil
	}
	return s.flusher.apply(s.batch)
}

// each calls visit for what was added. Key and record are valid until it returns.
func (s *revisionSorter) each(visit func(rev int64, key, record []byte) error) error {
	if err := s.flusher.apply(s.batch); err != nil {
		return err
	}
	return eachBetween(s.db, nil, nil, func(k, v []byte) error {
		return visit(int64(binary.BigEndian.Uint64(k)), k[8:], v)
	})
}

// close removes all of it.
func (s *revisionSorter) close() error {
	return errors.Join(s.batch.Close(), s.db.Close(), os.RemoveAll(s.dir))
}
