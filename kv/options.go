package kv

import (
	"log/slog"
	"time"

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
	// DiskShort tells whether the disk is short of room: what is written in the background is then written at once, as a compaction
	// takes room until it has ended. It must be quick, and is called by any goroutine. Nil: it never is.
	DiskShort func() bool
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
