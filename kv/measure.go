package kv

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// measureBatchBytes is how much is written to the database at once.
const measureBatchBytes = 1 << 20

// measureReport is how often a long measuring says how far it is.
const measureReport = 10 * time.Second

// measure makes a directory of format 1 one of the present format: it adds to the history what each revision superseded. What
// it takes is in proportion to the history that isn't compacted.
//
// Before anything else the directory says that it is of the new format, so that no older version misreads what is half done;
// a measuring that was cut off begins anew.
func (s *Store) measure(st state) (state, error) {
	s.log.Info("the directory is of an older format: its history is measured for the quota, once", "dir", s.options.Dir, "revision", st.revision, "compacted", st.compact)
	m := &measuring{store: s, state: st}
	if err := m.run(); err != nil {
		return state{}, fmt.Errorf("can't measure the history: %w", err)
	}
	s.log.Info("the history is measured", "bytes", m.state.superseded)
	return m.state, nil
}

type measuring struct {
	store    *Store
	state    state
	batch    *pebble.Batch
	versions *pebble.Iterator
	history  historyWriter
	scratch  []byte
}

func (m *measuring) run() error {
	db := m.store.db
	if err := m.save(); err != nil {
		return err
	}
	lower, upper := sectionBounds(sectionVersion)
	versions, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer versions.Close()
	m.versions, m.state.superseded, m.state.reclaimed = versions, 0, 0
	m.batch = db.NewBatch()
	defer func() { m.batch.Close() }()
	// What was superseded up to the compaction revision can't be read any more.
	history, err := newHistoryIterator(db, m.state.compact+1, m.state.revision)
	if err != nil {
		return err
	}
	defer history.close()
	clock := m.store.options.Clock
	reported := clock.Now()
	for ok := history.first(); ok; ok = history.next() {
		if err := m.change(history); err != nil {
			return err
		}
		if m.batch.Len() < measureBatchBytes {
			continue
		}
		if err := m.flush(); err != nil {
			return err
		}
		if clock.Since(reported) >= measureReport {
			reported = clock.Now()
			m.store.log.Info("the history is being measured", "revision", history.rev, "of", m.state.revision)
		}
	}
	if history.err != nil {
		return history.err
	}
	if err := m.flush(); err != nil {
		return err
	}
	return m.save()
}

// change measures the change that the iterator is at, which is alone in its record: no older format groups them.
func (m *measuring) change(history *historyIterator) error {
	c := history.change
	if c.prev != 0 {
		size, err := m.size(c)
		if err != nil {
			return err
		}
		m.state.superseded += size
	}
	c.superseded, c.measured = m.state.superseded, true
	_, sub, _ := decodeHistoryKey(history.records.Key())
	if err := m.history.add(m.batch, history.rev, sub, c); err != nil {
		return err
	}
	return m.history.flush(m.batch)
}

// size is what the version that c replaced counts for.
func (m *measuring) size(c change) (int64, error) {
	m.scratch = appendVersionKey(m.scratch[:0], c.key, c.prev, markValue)
	if !m.versions.SeekPrefixGE(m.scratch) || string(m.versions.Key()) != string(m.scratch) {
		return 0, m.versions.Error() // it isn't there, so it takes nothing
	}
	record, err := m.versions.ValueAndErr()
	if err != nil {
		return 0, err
	}
	h, _, err := decodeRecord(c.key, c.prev, record)
	return h.size + versionOverhead, err
}

func (m *measuring) flush() error {
	if err := m.store.db.Apply(m.batch, pebble.NoSync); err != nil {
		return err
	}
	m.batch.Reset()
	return nil
}

// save writes the state with all that came before it to the disk.
func (m *measuring) save() error {
	if err := m.store.db.Set(stateKey, m.state.encode(), pebble.NoSync); err != nil {
		return err
	}
	return m.store.db.Flush()
}
