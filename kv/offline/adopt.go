package offline

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/kv/bulkload"
	"github.com/ctlplane/ctlplane/kv/layout"
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
func Adopt(o kv.Options, a Adoption) (_ Summary, err error) {
	var f *bulkload.Flusher
	db, err := kv.OpenDatabase(o, func(p *pebble.Options) { f = bulkload.NewFlusher(p) })
	if err != nil {
		return Summary{}, err
	}
	f.Use(db.DB)
	b := &Backup{db: db}
	defer func() { err = errors.Join(err, b.Close()) }()
	if b.state, err = layout.ReadState(b.db); err != nil {
		return Summary{}, err
	}
	b.state.Applied, b.state.Term = a.Index, a.Term
	b.state.Revision += a.BumpRevision
	if a.MarkCompacted {
		b.state.Compact = b.state.Revision
		if b.state.Superseded != layout.Unmeasured {
			b.state.Reclaimed = b.state.Superseded
		}
	}
	batch := b.db.NewBatch()
	defer batch.Close()
	if err := kv.ForgetGroup(batch); err != nil {
		return Summary{}, err
	}
	if err := batch.Set(layout.StateKey, b.state.Encode(), nil); err != nil {
		return Summary{}, err
	}
	if err := f.Apply(batch); err != nil {
		return Summary{}, err
	}
	return b.Summary(), f.Flush()
}
