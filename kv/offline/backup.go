package offline

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/kv/layout"
)

// Summary says what a copy of a store holds.
type Summary struct {
	Revision        int64 `json:"revision"`
	CompactRevision int64 `json:"compactRevision,omitempty"`
	Keys            int64 `json:"keys"`
	LiveBytes       int64 `json:"liveBytes"`
}

// Backup is a copy of a store that Checkpoint made, or a store that is not open, for reading only. It is for one
// goroutine.
type Backup struct {
	db       *kv.Database
	state    layout.State
	finished int64 // the compaction revision up to which all is removed
}

// OpenBackup opens the copy in o.Dir, of which nothing is changed. The error wraps kv.ErrFormat where it is none.
func OpenBackup(o kv.Options) (_ *Backup, err error) {
	db, err := kv.OpenDatabase(o, func(p *pebble.Options) { p.ReadOnly = true })
	if err != nil {
		return nil, err
	}
	b := &Backup{db: db}
	if b.state, err = layout.ReadState(b.db); err == nil {
		b.finished, err = layout.ReadCompacted(b.db)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kv: %s: %w", o.Dir, err), b.Close())
	}
	return b, nil
}

// Summary says what the copy holds.
func (b *Backup) Summary() Summary {
	return Summary{Revision: b.state.Revision, CompactRevision: b.state.Compact, Keys: b.state.Keys, LiveBytes: b.state.Bytes}
}

// Close closes the copy.
func (b *Backup) Close() error { return b.db.Close() }

// Contents returns everything but the keys, in etcd's terms.
func (b *Backup) Contents() (*etcdfile.Contents, error) {
	c := &etcdfile.Contents{
		ScheduledCompact: b.state.Compact, FinishedCompact: min(b.finished, b.state.Compact),
		Index: b.state.Applied, Term: b.state.Term,
	}
	if err := kv.ReadContents(b.db, c); err != nil {
		return nil, fmt.Errorf("kv: %s: %w", b.db.Options.Dir, err)
	}
	return c, nil
}
