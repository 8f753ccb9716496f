package offline

import (
	"context"
	"errors"
	"fmt"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/kv/layout"
)

// LiveImport makes a store of an etcd that is still written to: of a snapshot, and of the changes that follow it. It is for one
// goroutine.
//
// Invariants:
//  1. Revisions follow each other without a gap, so that a change that got lost on the way is found out.
//  2. A key hangs on its lease as soon as it is written, whether the lease is known or not: watches show no leases. Finish is told
//     which there are.
//  3. Before Finish there is nothing in the directory that a member could start with.
type LiveImport struct {
	i    *importer
	last int64 // the revision that is written as a whole, or being written
}

// LiveEnd is what a watch of keys does not show of an etcd, at the revision that the import has come to.
type LiveEnd struct {
	// Compacted is the revision that was compacted last, 0 if none was.
	Compacted int64
	// Leases are all that there are.
	Leases []etcdfile.Lease
	// Auth has the users and roles; nil: those of the snapshot.
	Auth *etcdfile.Contents
}

// BeginLiveImport imports a snapshot as ImportEtcd does, and goes on where that ends.
func BeginLiveImport(ctx context.Context, o kv.Options, from *etcdfile.Reader) (*LiveImport, error) {
	i, err := newImporter(ctx, o, from)
	if err != nil {
		return nil, err
	}
	// After a compaction of everything, no key tells the revision any more.
	i.state.Revision = max(i.state.Revision, i.contents.FinishedCompact, i.contents.ScheduledCompact)
	return &LiveImport{i: i, last: i.state.Revision}, nil
}

// Revision is the last one that the import has.
func (l *LiveImport) Revision() int64 { return l.last }

// Keys is how many keys there are at Revision.
func (l *LiveImport) Keys() int64 { return l.i.state.Keys }

// AuthRevision is that of the snapshot's users and roles.
func (l *LiveImport) AuthRevision() uint64 { return l.i.contents.AuthRevision }

// Apply writes all changes of the revision that follows.
func (l *LiveImport) Apply(revision int64, changes []etcdfile.Record) error {
	if revision != l.last+1 {
		return fmt.Errorf("revision %d came after %d: what is between got lost", revision, l.last)
	}
	if len(changes) == 0 {
		return fmt.Errorf("revision %d changes nothing", revision)
	}
	for _, c := range changes {
		if err := c.Check(); err != nil {
			return err
		}
		if len(c.KV.Key) == 0 || c.Revision != revision {
			return fmt.Errorf("%w: a change of %q at revision %d is said to be of revision %d", etcdfile.ErrFormat, c.KV.Key, c.Revision, revision)
		}
		if lease := c.KV.Lease; lease != 0 && !c.Deleted {
			l.i.leases[lease] = struct{}{}
		}
		if err := l.i.record(c); err != nil {
			return err
		}
	}
	l.last = revision
	return nil
}

// Sync makes durable what was applied, which leaves less of that to Finish.
func (l *LiveImport) Sync() error {
	if err := l.i.commit(); err != nil {
		return err
	}
	return l.i.flusher.Flush()
}

// Finish makes the store whole. Only Close may be called afterwards.
func (l *LiveImport) Finish(end LiveEnd) error {
	if end.Compacted > l.last {
		return fmt.Errorf("etcd was compacted at revision %d, and the copy ends at %d", end.Compacted, l.last)
	}
	if err := l.settleLeases(end.Leases); err != nil {
		return err
	}
	if end.Auth != nil {
		if err := kv.ReplaceAuth(l.i.batch, end.Auth); err != nil {
			return err
		}
	}
	if err := l.compact(end.Compacted); err != nil {
		return err
	}
	return l.i.finish()
}

// compact makes every revision below one unreadable, which is removed by the store that opens this one.
func (l *LiveImport) compact(revision int64) error {
	if revision <= l.i.compacted() {
		return nil
	}
	if err := l.i.commit(); err != nil { // the history is looked at
		return err
	}
	l.i.state.Compact = l.i.compacted()
	reclaimed, err := layout.SupersededAt(l.i.db, l.i.state, revision)
	l.i.state.Reclaimed, l.i.contents.ScheduledCompact = reclaimed, revision
	return err
}

// settleLeases leaves the leases that there are, with their keys.
func (l *LiveImport) settleLeases(leases []etcdfile.Lease) error {
	for _, lease := range leases {
		if err := kv.WriteLease(l.i.batch, lease); err != nil {
			return err
		}
		delete(l.i.leases, lease.ID)
	}
	for gone := range l.i.leases {
		if err := l.i.batch.Delete(layout.LeaseKey(gone), nil); err != nil {
			return err
		}
		lower, upper := layout.AttachmentBounds(gone)
		if err := l.i.batch.DeleteRange(lower, upper, nil); err != nil {
			return err
		}
	}
	return nil
}

// Close gives up what is not finished; the directory is then of no use.
func (l *LiveImport) Close() error {
	if l.i == nil {
		return nil
	}
	i := l.i
	l.i = nil
	if err := i.close(); err != nil {
		return errors.Join(errors.New("close the copy"), err)
	}
	return nil
}
