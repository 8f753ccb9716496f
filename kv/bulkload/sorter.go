package bulkload

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/cockroachdb/pebble/v2"
)

// Sorter puts versions into the order of their revisions, and those of one revision into that of their
// keys. It is a database that is only ever filled and then read once: sorted runs on the disk, as large as a
// memory table, that are merged by the reading.
type Sorter struct {
	dir     string
	db      *pebble.DB
	batch   *pebble.Batch
	flusher *Flusher
}

const (
	sorterRunBytes   = 64 << 20
	sorterBatchBytes = 1 << 20
)

// NewSorter makes a sorter in dir, which must not exist yet. The caller closes it.
func NewSorter(dir string, logger pebble.Logger) (*Sorter, error) {
	if _, err := os.Stat(dir); err == nil {
		return nil, fmt.Errorf("%s: %w", dir, os.ErrExist)
	}
	options := &pebble.Options{
		DisableWAL:                  true,
		DisableAutomaticCompactions: true,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                sorterRunBytes,
		L0StopWritesThreshold:       math.MaxInt32,
		Logger:                      logger,
	}
	f := NewFlusher(options)
	db, err := pebble.Open(dir, options)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	f.Use(db)
	return &Sorter{dir: dir, db: db, batch: db.NewBatch(), flusher: f}, nil
}

// Add takes a version. Key and record are copied.
func (s *Sorter) Add(rev int64, key, record []byte) error {
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
	return s.flusher.Apply(s.batch)
}

// Each calls visit for what was added, in order. Key and record are valid until it returns.
func (s *Sorter) Each(visit func(rev int64, key, record []byte) error) error {
	if err := s.flusher.Apply(s.batch); err != nil {
		return err
	}
	it, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = visit(int64(binary.BigEndian.Uint64(it.Key())), it.Key()[8:], v)
		}
		if err != nil {
			return cmp.Or(err, it.Close())
		}
	}
	return cmp.Or(it.Error(), it.Close())
}

// Close removes all of it.
func (s *Sorter) Close() error {
	return errors.Join(s.batch.Close(), s.db.Close(), os.RemoveAll(s.dir))
}
