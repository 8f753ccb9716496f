package kv

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/layout"
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
func (s *Store) measure(st layout.State) (layout.State, error) {
	s.log.Info("the directory is of an older format: its history is measured for the quota, once", "dir", s.options.Dir, "revision", st.Revision, "compacted", st.Compact)
	m := &measuring{store: s, state: st}
	if err := m.run(); err != nil {
		return layout.State{}, fmt.Errorf("can't measure the history: %w", err)
	}
	s.log.Info("the history is measured", "bytes", m.state.Superseded)
	return m.state, nil
}

type measuring struct {
	store    *Store
	state    layout.State
	batch    *pebble.Batch
	versions *pebble.Iterator
	history  layout.HistoryWriter
	scratch  []byte
}

func (m *measuring) run() error {
	db := m.store.db
	if err := m.save(); err != nil {
		return err
	}
	lower, upper := layout.SectionBounds(layout.SectionVersion)
	versions, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer versions.Close()
	m.versions, m.state.Superseded, m.state.Reclaimed = versions, 0, 0
	m.batch = db.NewBatch()
	defer func() { m.batch.Close() }()
	// What was superseded up to the compaction revision can't be read any more.
	history, err := layout.NewHistoryIterator(db, m.state.Compact+1, m.state.Revision)
	if err != nil {
		return err
	}
	defer history.Close()
	clock := m.store.options.Clock
	reported := clock.Now()
	for ok := history.First(); ok; ok = history.Next() {
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
			m.store.log.Info("the history is being measured", "revision", history.Rev, "of", m.state.Revision)
		}
	}
	if history.Err != nil {
		return history.Err
	}
	if err := m.flush(); err != nil {
		return err
	}
	return m.save()
}

// change measures the change that the iterator is at, which is alone in its record: no older format groups them.
func (m *measuring) change(history *layout.HistoryIterator) error {
	c := history.Change
	if c.Prev != 0 {
		size, err := m.size(c)
		if err != nil {
			return err
		}
		m.state.Superseded += size
	}
	c.Superseded, c.Measured = m.state.Superseded, true
	if err := m.history.Add(m.batch, history.Rev, history.Sub(), c); err != nil {
		return err
	}
	return m.history.Flush(m.batch)
}

// size is what the version that c replaced counts for.
func (m *measuring) size(c layout.Change) (int64, error) {
	m.scratch = layout.AppendVersionKey(m.scratch[:0], c.Key, c.Prev, layout.MarkValue)
	if !m.versions.SeekPrefixGE(m.scratch) || string(m.versions.Key()) != string(m.scratch) {
		return 0, m.versions.Error() // it isn't there, so it takes nothing
	}
	record, err := m.versions.ValueAndErr()
	if err != nil {
		return 0, err
	}
	h, _, err := layout.DecodeRecord(c.Key, c.Prev, record)
	return h.Size + layout.VersionOverhead, err
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
	if err := m.store.db.Set(layout.StateKey, m.state.Encode(), pebble.NoSync); err != nil {
		return err
	}
	return m.store.db.Flush()
}
