package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// Database is the directory of a store, which no other process has open meanwhile. Package layout says what lies in it.
type Database struct {
	*pebble.DB
	// Options are those that it was opened with, and their defaults.
	Options Options
	pace    *pace
	lock    *pebble.Lock
	cache   *pebble.Cache
}

// OpenDatabase opens the database in o.Dir, or creates it, for somebody who has it alone, and waits for what it writes. adjust may
// change Pebble's options. The error wraps ErrInUse or ErrFormat where that is the cause.
func OpenDatabase(o Options, adjust func(*pebble.Options)) (*Database, error) {
	d, err := openDatabase(o.withDefaults(), adjust)
	if err != nil {
		return nil, err
	}
	d.pace.hurry()
	return d, nil
}

func openDatabase(o Options, adjust func(*pebble.Options)) (*Database, error) {
	if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("kv: can't create the directory %s: %w", o.Dir, err)
	}
	lock, err := pebble.LockDirectory(o.Dir, o.FS)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is open in this or another process: stop that one, or choose another directory (%v)", ErrInUse, o.Dir, err)
	}
	d := &Database{Options: o, pace: newPace(o.DiskShort), lock: lock, cache: o.cache()}
	options := o.pebble(d.cache, lock)
	options.FS = pacedFS{o.FS, d.pace}
	adjust(options)
	defer d.pace.hurry()() // to open it waits for the compactions that it begins
	if d.DB, err = pebble.Open(o.Dir, options); err != nil {
		d.cache.Unref()
		lock.Close()
		return nil, fmt.Errorf("%w: %s can't be opened by this version of ctlplane; use the version that wrote it, or give an empty directory: %w", ErrFormat, o.Dir, err)
	}
	d.pace.opened(d.DB)
	return d, nil
}

// Apply applies a batch, which allows for writes in the background.
func (d *Database) Apply(b *pebble.Batch, o *pebble.WriteOptions) error {
	d.pace.applied(b.Len())
	return d.DB.Apply(b, o)
}

// Flush writes all that is in memory to the disk.
func (d *Database) Flush() error {
	defer d.pace.hurry()()
	return d.DB.Flush()
}

// Close closes the database and releases the directory.
func (d *Database) Close() error {
	defer d.pace.hurry()()
	err := d.DB.Close()
	d.cache.Unref()
	return errors.Join(err, d.lock.Close())
}

const (
	// memTables is how many memory tables there may be before writers have to wait for the disk.
	memTables = 4
	// usualTables is how many there are: one that is written to, and one on its way to the disk.
	usualTables = 2
	// blockBytes is what blocks are filled up to: with what the cache puts before it, a block takes four pages.
	blockBytes = 15 << 10
)

// cache returns the cache that blocks and memory tables share: Pebble takes what the tables need out of it, and lets
// the blocks have the rest.
func (o Options) cache() *pebble.Cache {
	return pebble.NewCache(o.CacheBytes + usualTables*int64(o.MemTableBytes))
}

// pebble returns the database's options.
func (o Options) pebble(cache *pebble.Cache, lock *pebble.Lock) *pebble.Options {
	p := &pebble.Options{
		FS:                          o.FS,
		Lock:                        lock,
		Cache:                       cache,
		Comparer:                    layout.Comparer,
		DisableWAL:                  true,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: memTables,
		L0CompactionThreshold:       8, // at 4, a member takes 10 % more CPU time for a pipelined write, and at 2 far more
		L0StopWritesThreshold:       1000,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                4096,
		BytesPerSync:                256 << 10,
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(1, min(2, runtime.GOMAXPROCS(0)/2)) },
		Logger:                      pebbleLogger{o.Logger},
		EventListener: &pebble.EventListener{
			WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
				o.Logger.Warn("writes stall: the disk can't keep up", "reason", i.Reason)
			},
			DiskSlow:        func(i pebble.DiskSlowInfo) { o.Logger.Warn("the disk is slow", "operation", i.String()) },
			BackgroundError: o.backgroundError,
		},
	}
	p.Experimental.CompactionScheduler = newCompactionScheduler()
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		p.Levels[i].BlockSize = blockBytes
		// Tables of some tens of megabytes then have an index of one level: a read is one step shorter.
		p.Levels[i].IndexBlockSize = 256 << 10
	}
	return p
}

// backgroundError logs what Pebble tries again. A full disk is its owner's to report, see Options.DiskFull.
func (o Options) backgroundError(err error) {
	level := slog.LevelError
	if isFull(err) {
		level = slog.LevelDebug
	}
	o.Logger.Log(context.Background(), level, "a background operation of the store failed; it is tried again", "err", err.Error())
}

// PebbleLogger passes Pebble's log on to another.
func PebbleLogger(log *slog.Logger) pebble.Logger { return pebbleLogger{log} }

// pebbleLogger passes Pebble's log on: its routine messages as debug messages.
type pebbleLogger struct{ log *slog.Logger }

func (l pebbleLogger) Infof(format string, args ...any) {
	l.log.Debug("pebble", "message", fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("pebble", "message", fmt.Sprintf(format, args...))
}

// Fatalf is for a database that can't go on. Pebble expects not to be returned to.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	l.log.Error("pebble can't go on", "message", message)
	panic("kv: " + message)
}
