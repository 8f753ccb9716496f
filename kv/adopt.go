package kv

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/bulkload"
)

// Adoption says how a store becomes the beginning of a new group of members.
type Adoption struct {
	// Index and Term are what the new group's log calls the state.
	Index, Term uint64
	// BumpRevision is added to the revision, so that no client that knew the store later than this copy is
	// ever told a revision again that it has seen with other contents.
	BumpRevision int64
	// MarkCompacted makes everything before the revision unreadable, so that clients which resume a watch are
	// told to read anew.
	MarkCompacted bool
}

// Adopt turns the store in o.Dir, which must not be open, into the beginning of a new group: its members are
// forgotten, and its alarms and its announced downgrade with them.
func Adopt(o Options, a Adoption) (_ Summary, err error) {
	o = o.withDefaults()
	b := &Backup{store: &Store{options: o, log: o.Logger}}
	var f *bulkload.Flusher
	if err := b.store.openDatabaseWith(func(p *pebble.Options) { f = bulkload.NewFlusher(p) }); err != nil {
		return Summary{}, err
	}
	f.Use(b.store.db)
	defer func() { err = errors.Join(err, b.Close()) }()
	if b.state, err = b.store.loadState(); err != nil {
		return Summary{}, err
	}
	b.state.applied, b.state.term = a.Index, a.Term
	b.state.revision += a.BumpRevision
	if a.MarkCompacted {
		b.state.compact = b.state.revision
		if b.state.superseded != unmeasured {
			b.state.reclaimed = b.state.superseded
		}
	}
	batch := b.store.db.NewBatch()
	defer batch.Close()
	for _, prefix := range []string{"member", "alarm"} {
		// '0' follows '/'
		if err := batch.DeleteRange(metaKey(prefix+"/"), metaKey(prefix+"0"), nil); err != nil {
			return Summary{}, err
		}
	}
	if err := batch.Delete(downgradeKey, nil); err != nil {
		return Summary{}, err
	}
	if err := batch.Set(stateKey, b.state.encode(), nil); err != nil {
		return Summary{}, err
	}
	if err := f.Apply(batch); err != nil {
		return Summary{}, err
	}
	return b.Summary(), f.Flush()
}
