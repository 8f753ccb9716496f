package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/bulkload"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
)

// importBatchBytes is how much is written to the database at once.
const importBatchBytes = 4 << 20

// ImportEtcd makes a store in o.Dir, which must be empty or missing, of an etcd database: with its revisions as
// far as it has them, leases, users and roles; members and alarms are of the cluster that it comes from and left
// out. No entry of a Raft log is applied in it, see Adopt. Memory is bounded by o. The error wraps
// etcdfile.ErrFormat or bboltfile.ErrFormat where the file is to blame; what is in o.Dir is then of no use.
func ImportEtcd(ctx context.Context, o Options, from *etcdfile.Reader) (err error) {
	i, err := newImporter(ctx, o, from)
	if err != nil {
		return err
	}
	return errors.Join(i.finish(), i.close())
}

// newImporter makes a store, and writes all that the file has into it. It is closed when that fails.
func newImporter(ctx context.Context, o Options, from *etcdfile.Reader) (_ *importer, err error) {
	contents, err := from.Contents()
	if err != nil {
		return nil, err
	}
	o = o.withDefaults()
	i := &importer{
		store: &Store{options: o, log: o.Logger}, contents: contents,
		headers: newHeaderCache(o.CachedHeaders, 0), leases: map[int64]struct{}{}, state: state{revision: 1},
	}
	if err := i.store.openDatabaseWith(func(p *pebble.Options) { i.flusher = bulkload.NewFlusher(p) }); err != nil {
		return nil, err
	}
	i.flusher.Use(i.store.db)
	defer func() {
		if err != nil {
			err = errors.Join(err, i.close())
		}
	}()
	if _, err := i.store.loadState(); err != nil {
		return nil, err
	}
	i.batch = i.store.db.NewBatch()
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
	store    *Store
	contents *etcdfile.Contents
	headers  *headerCache
	leases   map[int64]struct{}
	state    state
	sub      uint32 // of the next change of state.revision
	deleted  bool   // state.revision has deleted a key

	history historyWriter
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
	return errors.Join(err, i.store.closeDatabase())
}

// begin writes what the keys refer to.
func (i *importer) begin() error {
	for _, l := range i.contents.Leases {
		if err := importLease(i.batch, l); err != nil {
			return err
		}
		i.leases[l.ID] = struct{}{}
	}
	return importAuth(i.batch, i.contents)
}

func (i *importer) record(r etcdfile.Record) error {
	if r.Revision > i.state.revision {
		i.state.revision, i.sub, i.deleted = r.Revision, 0, false
	}
	key := r.KV.Key
	if len(key) == 0 {
		return nil // it only raises the revision
	}
	old, err := i.header(key, !r.Deleted && r.KV.Version == 1)
	if err != nil {
		return err
	}
	if old.exists() && old.mod == r.Revision && !r.Deleted {
		return fmt.Errorf("%w: revision %d puts a key twice", etcdfile.ErrFormat, r.Revision)
	}
	var h header
	if !r.Deleted {
		h = header{
			create: r.KV.CreateRevision, mod: r.Revision, version: r.KV.Version, lease: r.KV.Lease,
			size: int64(len(key) + len(r.KV.Value)),
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
func (i *importer) change(key, value []byte, rev int64, old, h header) error {
	mark, record := byte(markTombstone), []byte(nil)
	if h.exists() {
		mark = markValue
		record = make([]byte, h.encodedLen(), h.encodedLen()+len(value))
		h.encode(record)
		record = append(record, value...)
	}
	if h.exists() && i.deleted && !old.exists() { // maybe by this very revision, whose tombstone would hide the value
		i.scratch = appendVersionKey(i.scratch[:0], key, rev, markTombstone)
		if err := i.batch.Delete(i.scratch, nil); err != nil {
			return err
		}
	}
	if old.exists() && rev > i.compacted() {
		i.state.superseded += old.size + versionOverhead
	}
	i.deleted = i.deleted || !h.exists()
	i.scratch = appendVersionKey(i.scratch[:0], key, rev, mark)
	if err := i.batch.Set(i.scratch, record, nil); err != nil {
		return err
	}
	if rev >= i.contents.FinishedCompact {
		c := change{key: key, deleted: !h.exists(), prev: old.mod, superseded: i.state.superseded, measured: true}
		if err := i.history.add(i.batch, rev, i.sub, c); err != nil {
			return err
		}
		i.sub++
	}
	if err := i.reattach(key, old.lease, h.lease); err != nil {
		return err
	}
	i.count(old, h)
	i.headers.set(key, h)
	return nil
}

// compacted is the revision below which nothing can be read.
func (i *importer) compacted() int64 {
	return max(i.contents.FinishedCompact, i.contents.ScheduledCompact)
}

func (i *importer) count(old, h header) {
	i.state.bytes += h.size - old.size
	if h.exists() {
		i.state.keys++
	}
	if old.exists() {
		i.state.keys--
	}
}

// reattach moves key from one lease to another. A key may name a lease that is gone: then it hangs on none.
func (i *importer) reattach(key []byte, from, to int64) error {
	if from == to {
		return nil
	}
	if _, ok := i.leases[from]; ok {
		if err := i.batch.Delete(appendAttachmentKey(nil, from, key), nil); err != nil {
			return err
		}
	}
	if _, ok := i.leases[to]; ok {
		return i.batch.Set(appendAttachmentKey(nil, to, key), nil, nil)
	}
	return nil
}

// header returns the header of key's newest version so far. A first version says itself that there is none, which spares
// a look at the disk; the file is believed in that.
func (i *importer) header(key []byte, first bool) (header, error) {
	if h, ok := i.headers.get(key); ok || first {
		return h, nil
	}
	if i.points == nil {
		lower, upper := sectionBounds(sectionVersion)
		it, err := i.store.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper, UseL6Filters: true})
		if err != nil {
			return header{}, err
		}
		i.points = it
	}
	return lookup(i.points, &i.scratch, key, i.state.revision, nil)
}

func (i *importer) commit() error {
	if i.points != nil {
		err := i.points.Close()
		if i.points = nil; err != nil {
			return err
		}
	}
	if err := i.history.flush(i.batch); err != nil {
		return err
	}
	if err := i.flusher.Apply(i.batch); err != nil {
		return err
	}
	i.headers.rotate(0)
	return nil
}

// finish writes the state that all of it adds up to, and makes it durable.
func (i *importer) finish() error {
	i.state.compact = i.compacted()
	// After a compaction of everything, no key tells the revision any more.
	i.state.revision = max(i.state.revision, i.state.compact)
	if err := i.batch.Set(stateKey, i.state.encode(), nil); err != nil {
		return err
	}
	if finished := i.contents.FinishedCompact; finished > 0 {
		progress := binary.BigEndian.AppendUint64(nil, uint64(finished))
		if err := i.batch.Set(compactedKey, progress, nil); err != nil {
			return err
		}
	}
	if err := i.commit(); err != nil {
		return err
	}
	return i.flusher.Flush()
}
