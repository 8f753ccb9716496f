package offline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/kv/bulkload"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/kv/headercache"
	"github.com/ctlplane/ctlplane/kv/layout"
)

// importBatchBytes is how much is written to the database at once.
const importBatchBytes = 4 << 20

// ImportEtcd makes a store in o.Dir, which must be empty or missing, of an etcd database: with its revisions as
// far as it has them, leases, users and roles; members and alarms are of the cluster that it comes from and left
// out. No entry of a Raft log is applied in it, see Adopt. Memory is bounded by o. The error wraps
// etcdfile.ErrFormat or bboltfile.ErrFormat where the file is to blame; what is in o.Dir is then of no use.
func ImportEtcd(ctx context.Context, o kv.Options, from *etcdfile.Reader) (err error) {
	i, err := newImporter(ctx, o, from)
	if err != nil {
		return err
	}
	return errors.Join(i.finish(), i.close())
}

// newImporter makes a store, and writes all that the file has into it. It is closed when that fails.
func newImporter(ctx context.Context, o kv.Options, from *etcdfile.Reader) (_ *importer, err error) {
	contents, err := from.Contents()
	if err != nil {
		return nil, err
	}
	i := &importer{contents: contents, leases: map[int64]struct{}{}, state: layout.State{Revision: 1}}
	if i.db, err = kv.OpenDatabase(o, func(p *pebble.Options) { i.flusher = bulkload.NewFlusher(p) }); err != nil {
		return nil, err
	}
	i.headers = headercache.New(i.db.Options.CachedHeaders, 0)
	i.flusher.Use(i.db.DB)
	defer func() {
		if err != nil {
			err = errors.Join(err, i.close())
		}
	}()
	if _, err := layout.ReadState(i.db); err != nil {
		return nil, err
	}
	i.batch = i.db.NewBatch()
	if err := i.begin(); err != nil {
		return nil, err
	}
	return i, from.Records(func(r etcdfile.Record) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		return i.record(r)
	})
}

// importer writes the history of another store into a new one, in the order of the revisions.
//
// Invariant: header finds the newest version of every key that was written. The cache stands for the batch that
// is being built, as with writer: it drops something only when the batch has been committed.
type importer struct {
	db       *kv.Database
	contents *etcdfile.Contents
	headers  *headercache.Cache
	leases   map[int64]struct{}
	state    layout.State
	sub      uint32 // of the next change of state.revision
	deleted  bool   // state.revision has deleted a key

	history layout.HistoryWriter
	flusher *bulkload.Flusher
	batch   *pebble.Batch
	points  *pebble.Iterator
	scratch []byte
}

func (i *importer) close() error {
	var err error
	if i.points != nil {
		err = i.points.Close()
	}
	if i.batch != nil {
		err = errors.Join(err, i.batch.Close())
	}
	return errors.Join(err, i.db.Close())
}

// begin writes what the keys refer to.
func (i *importer) begin() error {
	for _, l := range i.contents.Leases {
		if err := kv.WriteLease(i.batch, l); err != nil {
			return err
		}
		i.leases[l.ID] = struct{}{}
	}
	return kv.WriteAuth(i.batch, i.contents)
}

func (i *importer) record(r etcdfile.Record) error {
	if r.Revision > i.state.Revision {
		i.state.Revision, i.sub, i.deleted = r.Revision, 0, false
	}
	key := r.KV.Key
	if len(key) == 0 {
		return nil // it only raises the revision
	}
	old, err := i.header(key, !r.Deleted && r.KV.Version == 1)
	if err != nil {
		return err
	}
	if old.Exists() && old.Mod == r.Revision && !r.Deleted {
		return fmt.Errorf("%w: revision %d puts a key twice", etcdfile.ErrFormat, r.Revision)
	}
	var h layout.Header
	if !r.Deleted {
		h = layout.Header{
			Create: r.KV.CreateRevision, Mod: r.Revision, Version: r.KV.Version, Lease: r.KV.Lease,
			Size: int64(len(key) + len(r.KV.Value)),
		}
	}
	if err := i.change(key, r.KV.Value, r.Revision, old, h); err != nil {
		return err
	}
	if i.batch.Len() < importBatchBytes {
		return nil
	}
	return i.commit()
}

// change writes a version with its history. A header of a key that doesn't exist is a deletion.
func (i *importer) change(key, value []byte, rev int64, old, h layout.Header) error {
	mark, record := byte(layout.MarkTombstone), []byte(nil)
	if h.Exists() {
		mark = layout.MarkValue
		record = make([]byte, h.EncodedLen(), h.EncodedLen()+len(value))
		h.Encode(record)
		record = append(record, value...)
	}
	if h.Exists() && i.deleted && !old.Exists() { // maybe by this very revision, whose tombstone would hide the value
		i.scratch = layout.AppendVersionKey(i.scratch[:0], key, rev, layout.MarkTombstone)
		if err := i.batch.Delete(i.scratch, nil); err != nil {
			return err
		}
	}
	if old.Exists() && rev > i.compacted() {
		i.state.Superseded += old.Size + layout.VersionOverhead
	}
	i.deleted = i.deleted || !h.Exists()
	i.scratch = layout.AppendVersionKey(i.scratch[:0], key, rev, mark)
	if err := i.batch.Set(i.scratch, record, nil); err != nil {
		return err
	}
	if rev >= i.contents.FinishedCompact {
		c := layout.Change{Key: key, Deleted: !h.Exists(), Prev: old.Mod, Superseded: i.state.Superseded, Measured: true}
		if err := i.history.Add(i.batch, rev, i.sub, c); err != nil {
			return err
		}
		i.sub++
	}
	if err := i.reattach(key, old.Lease, h.Lease); err != nil {
		return err
	}
	i.count(old, h)
	i.headers.Set(key, h)
	return nil
}

// compacted is the revision below which nothing can be read.
func (i *importer) compacted() int64 {
	return max(i.contents.FinishedCompact, i.contents.ScheduledCompact)
}

func (i *importer) count(old, h layout.Header) {
	i.state.Bytes += h.Size - old.Size
	if h.Exists() {
		i.state.Keys++
	}
	if old.Exists() {
		i.state.Keys--
	}
}

// reattach moves key from one lease to another. A key may name a lease that is gone: then it hangs on none.
func (i *importer) reattach(key []byte, from, to int64) error {
	if from == to {
		return nil
	}
	if _, ok := i.leases[from]; ok {
		if err := i.batch.Delete(layout.AppendAttachmentKey(nil, from, key), nil); err != nil {
			return err
		}
	}
	if _, ok := i.leases[to]; ok {
		return i.batch.Set(layout.AppendAttachmentKey(nil, to, key), nil, nil)
	}
	return nil
}

// header returns the header of key's newest version so far. A first version says itself that there is none, which spares
// a look at the disk; the file is believed in that.
func (i *importer) header(key []byte, first bool) (layout.Header, error) {
	if h, ok := i.headers.Get(key); ok || first {
		return h, nil
	}
	if i.points == nil {
		lower, upper := layout.SectionBounds(layout.SectionVersion)
		it, err := i.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper, UseL6Filters: true})
		if err != nil {
			return layout.Header{}, err
		}
		i.points = it
	}
	return layout.Lookup(i.points, &i.scratch, key, i.state.Revision, nil)
}

func (i *importer) commit() error {
	if i.points != nil {
		err := i.points.Close()
		if i.points = nil; err != nil {
			return err
		}
	}
	if err := i.history.Flush(i.batch); err != nil {
		return err
	}
	if err := i.flusher.Apply(i.batch); err != nil {
		return err
	}
	i.headers.Rotate(0)
	return nil
}

// finish writes the state that all of it adds up to, and makes it durable.
func (i *importer) finish() error {
	i.state.Compact = i.compacted()
	// After a compaction of everything, no key tells the revision any more.
	i.state.Revision = max(i.state.Revision, i.state.Compact)
	if err := i.batch.Set(layout.StateKey, i.state.Encode(), nil); err != nil {
		return err
	}
	if finished := i.contents.FinishedCompact; finished > 0 {
		progress := binary.BigEndian.AppendUint64(nil, uint64(finished))
		if err := i.batch.Set(layout.CompactedKey, progress, nil); err != nil {
			return err
		}
	}
	if err := i.commit(); err != nil {
		return err
	}
	return i.flusher.Flush()
}
