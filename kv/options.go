package kv

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"k8s.io/utils/clock"
)

// Options are the settings of a Store. Only Dir is required.
type Options struct {
	// Dir holds the database and nothing else. It is created.
	Dir string
	// FS is the file system; nil is the disk.
	FS vfs.FS
	// UnsafeNoSync leaves it to the operating system when what is written reaches the disk.
	UnsafeNoSync bool
	// DiskFull is asked what to do when a write finds the disk full; it may wait for room, and is called by any
	// goroutine. Nil lets such a write fail, which may end the process.
	DiskFull func() FullDisk
	// CacheBytes is the size of the block cache while two memory tables are full; 0 is 64 MiB. Memory that the tables
	// don't need is added to it, and what more tables need is taken from it.
	CacheBytes int64
	// MemTableBytes is the size of one memory table, of which up to four are kept; 0 is 32 MiB.
	MemTableBytes uint64
	// CachedHeaders is about how many keys' headers are kept in memory to spare writes a read, if the keys are
	// of the usual length; there are fewer of long keys. 0 is 65536.
	CachedHeaders int
	// Rules is the highest version of rules that the member says it knows; 0 is KnownRules. It is for tests of releases to come.
	Rules Rules
	// WatchTailBytes bounds the recent events kept in memory for watchers to catch up from; 0 is 32 MiB.
	WatchTailBytes int
	// OnLeaseGrant is told the time to live of each lease that is granted, in seconds, and OnCompacted how long a background
	// compaction took when nothing is left for it to remove. They must be quick; nil: nobody is told.
	OnLeaseGrant func(ttl int64)
	OnCompacted  func(took time.Duration)
	// OnCommand is told of each command that was carried out, in their order, before Apply makes it visible. It must be quick;
	// nil: nobody is told.
	OnCommand func(*Command, Result)
	// Clock paces the background compaction; nil is the real one. Nothing replicated depends on it.
	Clock clock.Clock
	// Logger takes what the store and Pebble have to say; nil discards it.
	Logger *slog.Logger
}

// TableBytes is the size of a memory table.
func (o Options) TableBytes() uint64 {
	if o.MemTableBytes == 0 {
		return defaultTableBytes
	}
	return o.MemTableBytes
}

const defaultTableBytes = 32 << 20

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.UnsafeNoSync {
		o.FS = unsyncedFS{o.FS}
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	o.MemTableBytes = o.TableBytes()
	if o.CachedHeaders == 0 {
		o.CachedHeaders = 64 << 10
	}
	if o.WatchTailBytes == 0 {
		o.WatchTailBytes = 32 << 20
	}
	if o.Rules == 0 {
		o.Rules = KnownRules
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
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

// pebble returns the database's options. onFlush is called after each memory table that reached the disk.
func (o Options) pebble(cache *pebble.Cache, lock *pebble.Lock, onFlush func()) *pebble.Options {
	p := &pebble.Options{
		FS:                          o.FS,
		Lock:                        lock,
		Cache:                       cache,
		Comparer:                    Comparer,
		DisableWAL:                  true,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: memTables,
		L0CompactionThreshold:       8, // at 4, a member takes 10 % more CPU time for a pipelined write, and at 2 far more
		L0StopWritesThreshold:       1000,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                4096,
		BytesPerSync:                1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(1, min(2, runtime.GOMAXPROCS(0)/2)) },
		Logger:                      pebbleLogger{o.Logger},
		EventListener: &pebble.EventListener{
			FlushEnd: func(pebble.FlushInfo) { onFlush() },
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
