package kv

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/etcdfile"
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
	store    *Store
	state    state
	finished int64 // the compaction revision up to which all is removed
}

// OpenBackup opens the copy in o.Dir, of which nothing is changed. The error wraps ErrFormat where it is none.
func OpenBackup(o Options) (_ *Backup, err error) {
	o = o.withDefaults()
	b := &Backup{store: &Store{options: o, log: o.Logger}}
	if err := b.store.openDatabaseWith(func(p *pebble.Options) { p.ReadOnly = true }); err != nil {
		return nil, err
	}
	if b.state, err = b.store.loadState(); err == nil {
		b.finished, err = loadCompacted(b.store.db)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kv: %s: %w", o.Dir, err), b.Close())
	}
	return b, nil
}

// Summary says what the copy holds.
func (b *Backup) Summary() Summary {
	return Summary{Revision: b.state.revision, CompactRevision: b.state.compact, Keys: b.state.keys, LiveBytes: b.state.bytes}
}

// Close closes the copy.
func (b *Backup) Close() error { return b.store.closeDatabase() }

// Contents returns everything but the keys, in etcd's terms.
func (b *Backup) Contents() (*etcdfile.Contents, error) {
	c := &etcdfile.Contents{
		ScheduledCompact: b.state.compact, FinishedCompact: min(b.finished, b.state.compact),
		Index: b.state.applied, Term: b.state.term,
	}
	if err := b.contentsOfStore(c); err != nil {
		return nil, fmt.Errorf("kv: %s: %w", b.store.options.Dir, err)
	}
	return c, nil
}

func (b *Backup) contentsOfStore(c *etcdfile.Contents) error {
	db := b.store.db
	var leases leaseTable
	if err := leases.load(db); err != nil {
		return err
	}
	for id, term := range leases.granted {
		c.Leases = append(c.Leases, etcdfile.Lease{ID: id, TTL: term.ttl, Remaining: term.remaining})
	}
	auth, err := loadAuth(db)
	if err != nil {
		return err
	}
	c.AuthEnabled, c.AuthRevision = auth.Enabled(), auth.Revision()
	for _, name := range auth.Users() {
		c.Users = append(c.Users, auth.User(name))
	}
	for _, name := range auth.Roles() {
		c.Roles = append(c.Roles, auth.Role(name))
	}
	var members memberTable
	if err := members.load(db); err != nil {
		return err
	}
	for _, r := range members.records {
		if m := r.member; !r.removed {
			c.Members = append(c.Members, etcdfile.Member{
				ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.IsLearner,
			})
		}
	}
	var alarms alarmTable
	if err := alarms.load(db, &members); err != nil {
		return err
	}
	for member, set := range alarms.raised {
		c.Alarms = append(c.Alarms, set.shown(member)...)
	}
	return nil
}

// loadCompacted returns the revision up to which the removals of compactions are done.
func loadCompacted(reader pebble.Reader) (int64, error) {
	v, closer, err := reader.Get(compactedKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	if len(v) != 8 {
		return 0, errCorruptRecord
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}
