package kv

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/headercache"
	"github.com/ctlplane/ctlplane/kv/layout"
)

// Store is the state machine. Apply and Close are called by its owner, one at a time; everything else may
// be called by any goroutine at any time.
//
// Invariants:
//  1. Only Apply changes what a reader can see. The background compaction removes only what no reader may
//     ask for any more.
//  2. current is published after the batch that it describes is visible, and before the watch hub hears of
//     the events. So who knows a revision can read it, and a watch that starts "from now" starts after
//     everything that could be read.
//  3. A reader looks at the compaction revision after it made its iterator: what the iterator sees has not
//     been cut below the revision that was found.
type Store struct {
	options Options
	log     *slog.Logger
	db      *Database
	disk    *fullDiskFS // nil where a full disk is not handled

	apply struct {
		sync.Mutex
		failed   error // the first disk failure: nothing is applied after it
		headers  *headercache.Cache
		scratch  []byte
		history  layout.HistoryWriter
		versions versionWriter
	}
	current   atomic.Pointer[layout.State]
	progress  applyProgress
	flushed   flushedIndex
	leases    leaseTable
	members   memberTable
	downgrade downgradeTarget
	alarms    alarmTable
	auth      authTable
	tokens    *tokenTable
	hub       *hub
	counts    rangeCounts
	counters  counters
	figures   figures
	compact   *compactor

	closing chan struct{}
	closed  sync.Once
	users   sync.RWMutex // held for reading while the database is used; Close takes it for writing
	gone    bool         // guarded by users
}

// Open opens the store in o.Dir, or creates it. The error wraps ErrInUse or ErrFormat where that is the
// cause.
func Open(o Options) (*Store, error) {
	o = o.withDefaults()
	s := &Store{options: o, log: o.Logger, closing: make(chan struct{})}
	if o.DiskFull != nil {
		s.disk = newFullDiskFS(o.FS, o.Dir, o.DiskFull)
		s.options.FS = s.disk
	}
	db, err := openDatabase(s.options, func(p *pebble.Options) {
		p.EventListener.FlushEnd = func(pebble.FlushInfo) { s.flushed.invalidate() }
	})
	if err != nil {
		return nil, err
	}
	s.db = db
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	s.apply.headers = headercache.New(o.CachedHeaders, s.AppliedIndex())
	s.hub = newHub(s, o.WatchTailBytes)
	s.compact.start()
	if err := s.OnDisk(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// load reads what is kept in memory: the state record, leases and members. None of it grows with the keys. A directory of an
// older format is brought to the present one.
func (s *Store) load() error {
	st, err := layout.ReadState(s.db)
	if err == nil && Rules(st.Rules) > s.options.Rules {
		err = fmt.Errorf("%w: its entries are checked by rules %d, and this release knows rules up to %d; use the release that wrote it", ErrFormat, st.Rules, s.options.Rules)
	}
	if err == nil && st.Superseded == layout.Unmeasured {
		st, err = s.measure(st)
	}
	if err != nil {
		return fmt.Errorf("kv: %s: %w", s.options.Dir, err)
	}
	s.current.Store(&st)
	s.progress.advance(st.Applied)
	s.leases.onGrant = s.options.OnLeaseGrant
	if err := s.leases.load(s.db); err != nil {
		return fmt.Errorf("kv: can't read the leases of %s: %w", s.options.Dir, err)
	}
	if err := s.members.load(s.db); err != nil {
		return fmt.Errorf("kv: can't read the members of %s: %w", s.options.Dir, err)
	}
	if err := s.downgrade.load(s.db); err != nil {
		return fmt.Errorf("kv: can't read the announced downgrade of %s: %w", s.options.Dir, err)
	}
	if err := s.alarms.load(s.db, &s.members); err != nil {
		return fmt.Errorf("kv: can't read the alarms of %s: %w", s.options.Dir, err)
	}
	if err := s.auth.load(s.db); err != nil {
		return fmt.Errorf("kv: can't read the users and roles of %s: %w", s.options.Dir, err)
	}
	s.tokens = newTokenTable(s.options.Clock)
	s.compact, err = newCompactor(s)
	return err
}

// Close ends all watch streams, waits for readers and the background work, writes what is in memory to the
// disk and releases the directory. The store can't be used after it.
func (s *Store) Close() error {
	err := ErrClosed
	s.closed.Do(func() {
		close(s.closing)
		s.hub.stop()
		s.compact.stop()
		s.apply.Lock()
		defer s.apply.Unlock()
		s.users.Lock()
		s.gone = true
		s.users.Unlock()
		if s.apply.failed == nil {
			err = s.db.Flush()
		} else {
			err = nil
		}
		err = errors.Join(err, s.db.Close())
	})
	return err
}

// use keeps the database open until release is called.
func (s *Store) use() (release func(), err error) {
	s.users.RLock()
	if s.gone {
		s.users.RUnlock()
		return nil, ErrClosed
	}
	return s.users.RUnlock, nil
}

// Revision returns the revision of the last change that can be read. It is 1 in an empty store.
func (s *Store) Revision() int64 { return s.current.Load().Revision }

// CompactRevision returns the lowest revision that can be read; 0 if nothing was compacted yet.
func (s *Store) CompactRevision() int64 { return s.current.Load().Compact }
