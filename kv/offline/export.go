package offline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/kv/bulkload"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/kv/layout"
)

// Records calls visit for each change of a key that the copy has, in the order of the revisions, in bounded
// memory: it needs room for about the copy's own size in temp, a directory that does not exist yet and is gone
// afterwards. Nothing of a record may be kept. room is asked for what is written there, and for what visit is given.
//
// Of the revisions from the last compaction on, the history tells the order. What the compaction has kept of
// the time before is sorted here; the order within one such revision is lost, and the keys' stands for it.
func (b *Backup) Records(ctx context.Context, temp string, room Room, visit func(etcdfile.Record) error) error {
	e := &exporter{ctx: ctx, db: b.db, log: b.db.Options.Logger, room: room, visit: visit}
	if b.finished > 0 {
		if err := e.kept(b.finished, temp); err != nil {
			return err
		}
	}
	return e.history(b.finished, b.state.Compact)
}

// exporter turns versions into records.
type exporter struct {
	ctx   context.Context
	db    pebble.Reader
	log   *slog.Logger
	room  Room
	visit func(etcdfile.Record) error

	revision, sub int64 // of the last record
	count         int
}

func (e *exporter) put(rev int64, key, record []byte) error {
	h, value, err := layout.DecodeRecord(key, rev, record)
	if err != nil {
		return err
	}
	return e.record(rev, false, h.KeyValue(key, value))
}

func (e *exporter) record(rev int64, deleted bool, kv *mvccpb.KeyValue) error {
	if e.count++; e.count%1024 == 0 && e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	if rev != e.revision {
		e.revision, e.sub = rev, -1
	}
	e.sub++
	if err := e.room.take(len(kv.Key) + len(kv.Value)); err != nil {
		return err
	}
	return e.visit(etcdfile.Record{Revision: rev, Sub: e.sub, Deleted: deleted, KV: kv})
}

// kept visits the versions of before a revision.
func (e *exporter) kept(before int64, temp string) (err error) {
	s, err := bulkload.NewSorter(temp, kv.PebbleLogger(e.log))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	count := 0
	err = layout.EachMeta(e.db, layout.SectionVersion, func(k, v []byte) error {
		if count++; count%1024 == 0 && e.ctx.Err() != nil {
			return context.Cause(e.ctx)
		}
		key, rev, tombstone, ok := layout.DecodeVersionKey(k)
		if !ok {
			return layout.ErrCorruptRecord
		}
		if rev >= before || tombstone {
			return nil
		}
		if err := e.room.take(len(key) + len(v)); err != nil {
			return err
		}
		return s.Add(rev, key, v)
	})
	if err != nil {
		return err
	}
	return s.Each(e.put)
}

// history visits the changes from a revision on. What is superseded below the compaction revision may be gone
// already.
func (e *exporter) history(from, compact int64) error {
	h, err := layout.NewHistoryIterator(e.db, from, math.MaxInt64)
	if err != nil {
		return err
	}
	defer h.Close()
	var scratch []byte
	for ok := h.First(); ok; ok = h.Next() {
		if h.Change.Deleted {
			err = e.record(h.Rev, true, &mvccpb.KeyValue{Key: h.Change.Key})
		} else {
			scratch = layout.AppendVersionKey(scratch[:0], h.Change.Key, h.Rev, layout.MarkValue)
			err = e.version(h.Rev, h.Change.Key, scratch, compact)
		}
		if err != nil {
			return err
		}
	}
	return h.Err
}

// version visits a put of a revision, whose version is stored under k.
func (e *exporter) version(rev int64, key, k []byte, compact int64) error {
	record, closer, err := e.db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		if rev < compact {
			return nil
		}
		return fmt.Errorf("revision %d has no value: %w", rev, layout.ErrCorruptRecord)
	}
	if err != nil {
		return err
	}
	return errors.Join(e.put(rev, key, record), closer.Close())
}
