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
//  1. What is applied allows a multiple of itself, and the time that passes something beside it. So flushes keep up with any load.
//  2. Nobody that waits for the background is paced: who flushes, defragments or closes the store hurries it. Neither is a
//     compaction once readers would suffer from what is yet to be compacted.
//
// It is safe for concurrent use. It goes by the real clock: that of the options may stand still.
type pace struct {
	flushes, compactions budget
	hurries              atomic.Int32 // how many wait for the background

	mu      sync.Mutex
	db      *pebble.DB // nil while it is being opened
	looked  time.Time  // when behind was found out
	waiting bool       // see behind
}

const (
	// flushRate and compactionRate are how many bytes a second flushes and compactions may write, whatever is applied.
	flushRate      = 4 << 20
	compactionRate = 6 << 20
	// backgroundPerApplied is how many bytes more each of both may write for one that is applied.
	backgroundPerApplied = 3
	// backgroundBurst bounds what is saved up while nothing is written.
	backgroundBurst = 1 << 20
	// behindFrom is how many tables of the first level a read may have to look into before compactions are not paced any more.
	behindFrom = 20
	// paceStep is how long a write waits at most before it looks again, and behindStep how long what it found out is good.
	paceStep   = 10 * time.Millisecond
	behindStep = 100 * time.Millisecond
)

func newPace() *pace {
	return &pace{flushes: budget{rate: flushRate}, compactions: budget{rate: compactionRate}}
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

// wait returns when that many bytes of b may be written.
func (p *pace) wait(b *budget, bytes int) {
	for p.hurries.Load() == 0 {
		wait := b.spend(bytes, time.Now())
		if wait == 0 || b == &p.compactions && p.behind() {
			return
		}
		time.Sleep(min(wait, paceStep))
	}
}

// behind tells whether readers suffer from what is yet to be compacted.
func (p *pace) behind() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.db != nil && now.Sub(p.looked) >= behindStep {
		p.looked, p.waiting = now, p.db.Metrics().Levels[0].Sublevels >= behindFrom
	}
	return p.waiting
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

// spend takes bytes out of the budget, or tells after how long it will if nothing is earned until then.
func (b *budget) spend(bytes int, now time.Time) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	passed := min(now.Sub(b.at), time.Second)
	if grown := int(passed.Seconds() * float64(b.rate)); grown > 0 {
		b.left, b.at = min(b.left+grown, backgroundBurst), now
	}
	if b.left > 0 {
		b.left -= bytes
		return 0
	}
	return time.Duration(float64(1-b.left) / float64(b.rate) * float64(time.Second))
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
		return pacedFile{f, fs.pace, &fs.pace.flushes}, nil
	case "pebble-compaction":
		return pacedFile{f, fs.pace, &fs.pace.compactions}, nil
	}
	return f, nil
}

type pacedFile struct {
	vfs.File
	pace   *pace
	budget *budget
}

// Write implements vfs.File.
func (f pacedFile) Write(b []byte) (int, error) {
	f.pace.wait(f.budget, len(b))
	return f.File.Write(b)
}
