package kv

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pace is how fast the database may write in the background. At their own speed flushes and compactions take all that a disk has,
// and an entry of the Raft log, which lies on the same disk, then waits ten or a hundred times as long for its sync.
//
// Invariants:
//  1. Nobody that waits for the background is paced: neither who opens, flushes, defragments or closes the store, nor flushes while
//     another memory table is full, nor compactions while a read has to look into many tables.
//     Nor is anything paced while the disk is short of room, see Options.DiskShort.
//  2. The more there is to compact, the faster is the pace of compactions. So they come up with any load that the disk can bear.
//
// It is safe for concurrent use. It goes by the real clock: that of the options may stand still.
type pace struct {
	flushes, compactions budget
	hurries              atomic.Int32 // how many wait for the background
	short                func() bool  // see Options.DiskShort

	mu     sync.Mutex
	db     *pebble.DB // nil while it is being opened
	looked time.Time  // when arrears were found out
	latest atomic.Pointer[arrears]
}

// arrears are what the background has not done yet.
type arrears struct {
	tables    int64 // memory tables, that which is written to included
	sublevels int32 // tables of the first level that a read may have to look into
	debt      uint64
}

const (
	// flushRate and compactionRate are how many bytes a second flushes and compactions may write, whatever is applied.
	flushRate      = 4 << 20
	compactionRate = 6 << 20
	// debtStep is for how many bytes that are yet to be compacted compactionRate is added once more.
	debtStep = 128 << 20
	// backgroundPerApplied is how many bytes more each of both may write for one that is applied.
	backgroundPerApplied = 3
	// backgroundBurst bounds what is saved up.
	backgroundBurst = 1 << 20
	// behindFrom is how many sublevels are too many.
	behindFrom = 20
	// paceStep is how long a write waits before it looks again, and arrearsStep how long what it found out is good.
	paceStep    = 10 * time.Millisecond
	arrearsStep = 100 * time.Millisecond
)

func newPace(short func() bool) *pace {
	if short == nil {
		short = func() bool { return false }
	}
	p := &pace{flushes: budget{rate: flushRate}, compactions: budget{rate: compactionRate}, short: short}
	p.latest.Store(&arrears{})
	return p
}

// opened tells of the database when it is open.
func (p *pace) opened(db *pebble.DB) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.db = db
}

// applied allows for bytes that were applied.
func (p *pace) applied(bytes int) {
	p.flushes.earn(backgroundPerApplied * bytes)
	p.compactions.earn(backgroundPerApplied * bytes)
}

// hurry lets the background write as fast as it can until done is called.
func (p *pace) hurry() (done func()) {
	p.hurries.Add(1)
	return func() { p.hurries.Add(-1) }
}

// hurried tells whether somebody waits for the background, or its end for room.
func (p *pace) hurried() bool { return p.hurries.Load() > 0 || p.short() }

// flush returns when a flush may write that many bytes.
func (p *pace) flush(bytes int) {
	for !p.hurried() && p.look().tables <= usualTables && !p.flushes.spend(bytes, 1, time.Now()) {
		time.Sleep(paceStep)
	}
}

// compact returns when a compaction may write that many bytes.
func (p *pace) compact(bytes int) {
	for !p.hurried() {
		a := p.look()
		if a.sublevels >= behindFrom || p.compactions.spend(bytes, 1+float64(a.debt)/debtStep, time.Now()) {
			return
		}
		time.Sleep(paceStep)
	}
}

// look finds out what the background has not done yet. The database answers under a lock: nobody waits for another one that asks.
func (p *pace) look() arrears {
	if !p.mu.TryLock() {
		return *p.latest.Load()
	}
	defer p.mu.Unlock()
	if now := time.Now(); p.db != nil && now.Sub(p.looked) >= arrearsStep {
		m := p.db.Metrics()
		p.looked = now
		p.latest.Store(&arrears{tables: m.MemTable.Count, sublevels: m.Levels[0].Sublevels, debt: m.Compact.EstimatedDebt})
	}
	return *p.latest.Load()
}

// budget is how many bytes may be written.
type budget struct {
	rate int // bytes a second

	mu   sync.Mutex
	left int // less than nothing after a write of more than there was
	at   time.Time
}

func (b *budget) earn(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.left+bytes, backgroundBurst)
}

// spend takes bytes out of the budget, which grows at a multiple of its rate. It returns false when nothing is left.
func (b *budget) spend(bytes int, times float64, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	passed := min(now.Sub(b.at), time.Second)
	if grown := int(passed.Seconds() * times * float64(b.rate)); grown > 0 {
		b.left, b.at = min(b.left+grown, backgroundBurst), now
	}
	if b.left <= 0 {
		return false
	}
	b.left -= bytes
	return true
}

// pacedFS is a file system on which the database writes its tables at a pace.
type pacedFS struct {
	vfs.FS
	pace *pace
}

// Unwrap implements vfs.FS.
func (fs pacedFS) Unwrap() vfs.FS { return fs.FS }

// Create implements vfs.FS. The categories are Pebble's.
func (fs pacedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	switch category {
	case "pebble-memtable-flush":
		return pacedFile{f, fs.pace.flush}, nil
	case "pebble-compaction":
		return pacedFile{f, fs.pace.compact}, nil
	}
	return f, nil
}

type pacedFile struct {
	vfs.File
	wait func(bytes int)
}

// Write implements vfs.File.
func (f pacedFile) Write(b []byte) (int, error) {
	f.wait(len(b))
	return f.File.Write(b)
}
