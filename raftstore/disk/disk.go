// Package disk is a member's disk: how much room it has, what is kept back for when it has none, and whether it works.
//
// A full disk harms nothing that is written (see Disk), and one that hangs is found by what it was given to do and has not ended
// (see Work, StallWatch and Probe). What a member does about either is the member's: this package knows of no group.
//
// All of it is safe for concurrent use, but for a StallWatch, which is for one goroutine. Nothing here waits for a disk but what
// writes to it.
package disk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/notify"
)

// Space is how much of a file system is there, in bytes.
type Space struct {
	Free  int64 // for this process
	Total int64
}

// SpaceOf is the disk space of a directory.
func SpaceOf(dir string) (Space, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Space{}, fmt.Errorf("the free space of %s: %w", dir, err)
	}
	return Space{Free: int64(s.Bavail) * s.Bsize, Total: int64(s.Blocks) * s.Bsize}, nil
}

// Watermarks are the limits for a file system, in bytes. They go with its size, so that a small one is of use
// too, up to a size that is enough on any.
type Watermarks struct {
	// Low is the free space below which values are refused, High the one above which they are taken again.
	Low, High int64
	// reserve is how much is kept back for when the disk is full all the same: what takes the member on from there. That is
	// one memory table, with which its entries can be cut off the log, which makes room for the next, and the log's next file.
	reserve int64
	// Segment is the size of a file of the Raft log, whose space is claimed at once; Log is how much the log
	// grows between two cuts at most.
	Segment, Log int64
	// table is the size of the state's memory tables at most: when the alarm is raised, several may still have to be written.
	table int64
}

// NewWatermarks are the limits for a file system of a size.
func NewWatermarks(total int64) Watermarks {
	low := min(max(total/12, 2<<20), 512<<20)
	segment := min(max(total/64, 512<<10), 8<<20)
	table := min(max(total/64, 1<<20), int64(kv.Options{}.TableBytes()))
	return Watermarks{
		Low: low, High: low + low/2,
		reserve: table + segment,
		Segment: segment,
		Log:     max(total/8, 1<<20),
		table:   table,
	}
}

// Period is how often the free space is looked at.
const Period = time.Second

// Disk is the disk of a member, as far as its space goes.
//
// What is written is of four kinds, and a full disk harms none of them: the Raft log refuses entries (who
// leads then gives up the lead); the term and vote lie in space that was claimed before; the state's small
// files wait (see kv.FullDisk), its tables are written again later; a snapshot's note has a spare (see snapshots), and a state
// that is received fails and is sent again. Before any of that, the reserve is given up.
type Disk struct {
	dirs   []string
	space  func(dir string) (Space, error)
	clock  clock.Clock
	logger *slog.Logger
	// Marks are set by New.
	Marks Watermarks

	reserve reserve
	// foundFull has a token after the disk was found full.
	foundFull chan struct{}
	// room is notified when there may be room again; waits are the writes of the state that wait for it.
	room  notify.Signal
	waits atomic.Int32

	serving context.Context // until the member is being closed
	stop    context.CancelFunc

	mu     sync.Mutex
	open   bool
	latest Space
}

// Options are all required.
type Options struct {
	// Dirs are the member's directories, which exist. The first has the reserve.
	Dirs []string
	// Space tells the free space of a directory.
	Space  func(dir string) (Space, error)
	Clock  clock.Clock
	Logger *slog.Logger
}

// New looks at the disk. Once life has ended, or after Stop, nothing waits for room any more.
func New(life context.Context, options Options) (*Disk, error) {
	d := &Disk{
		dirs: options.Dirs, space: options.Space, clock: options.Clock, logger: options.Logger,
		foundFull: make(chan struct{}, 1),
	}
	d.serving, d.stop = context.WithCancel(life)
	now, err := d.Look()
	if err != nil {
		return nil, err
	}
	d.Marks = NewWatermarks(now.Total)
	d.reserve.path, d.reserve.size = reservePath(d.dirs[0]), d.Marks.reserve
	if err := d.reserve.adopt(); err != nil {
		return nil, err
	}
	d.MakeReserve(now)
	return d, nil
}

// Bound makes the state wait for room, hurry where there is little, and its memory tables no larger than the disk is fit for.
func (d *Disk) Bound(options *kv.Options) {
	options.DiskFull, options.DiskShort = d.storeFull, d.Short
	options.MemTableBytes = min(options.TableBytes(), uint64(d.Marks.table))
}

// ClaimStable claims space for the file that has the term and the vote, in a directory of the log.
func (d *Disk) ClaimStable(path string) {
	err := durable.MakeDir(filepath.Dir(path))
	if err == nil {
		err = claimStable(path)
	}
	if err != nil {
		d.logger.Warn("no space was claimed for the term and the vote", "error", err)
	}
}

// Look asks for the free space: the least of all directories.
func (d *Disk) Look() (Space, error) {
	var least Space
	for i, dir := range d.dirs {
		space, err := d.space(dir)
		if err != nil {
			return Space{}, err
		}
		if i == 0 || space.Free < least.Free {
			least = space
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.latest = least
	return least, nil
}

// MakeReserve claims the reserve, if there is room for it beside what has to be free.
func (d *Disk) MakeReserve(now Space) {
	if d.reserve.held() || now.Free < d.Marks.Low+d.reserve.size {
		return
	}
	if err := d.reserve.claim(); err != nil {
		d.logger.Warn("no space was reserved for when the disk is full", "bytes", d.reserve.size, "error", err)
	}
}

// Opened says that the state is open: from now on its writes wait for room. Opening it fails on a full disk,
// so that whoever started the member learns of it.
func (d *Disk) Opened(store *kv.Store) error {
	d.mu.Lock()
	d.open = true
	d.mu.Unlock()
	return store.OnDisk()
}

// GiveUpReserve is called after a write has found the disk full. It returns false if there was no reserve.
func (d *Disk) GiveUpReserve() bool {
	select {
	case d.foundFull <- struct{}{}:
	default:
	}
	given := d.reserve.release()
	if given {
		d.logger.Error("the disk is full; what was reserved for that is in use now", "bytes", d.reserve.size, "directory", d.dirs[0])
		d.room.Notify()
	}
	return given
}

// storeFull implements kv.Options.DiskFull.
func (d *Disk) storeFull() kv.FullDisk {
	room := d.room.Next()
	if d.GiveUpReserve() {
		return kv.FullRetry
	}
	d.mu.Lock()
	open := d.open
	d.mu.Unlock()
	if d.serving.Err() != nil || !open {
		return kv.FullAbandon
	}
	d.waits.Add(1)
	defer d.waits.Add(-1)
	timer := d.clock.NewTimer(Period)
	defer timer.Stop()
	select {
	case <-room:
	case <-timer.C():
	case <-d.serving.Done():
	}
	return kv.FullRetry
}

// Stop says that the member is being closed: nothing waits for room any more.
func (d *Disk) Stop() { d.stop() }

// IsFull tells whether a write failed for want of room.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Status is what was free at the last look, and what is wanted free and is kept back.
func (d *Disk) Status() (space Space, low, reserved int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reserve.held() {
		reserved = d.reserve.size
	}
	return d.latest, d.Marks.Low, reserved
}

// Short tells whether there was less free, at the last look, than there should be again.
func (d *Disk) Short() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.latest.Free < d.Marks.High
}

// Reserved tells whether the reserve is there to be given up.
func (d *Disk) Reserved() bool { return d.reserve.held() }

// Full has a token after a write has found the disk full.
func (d *Disk) Full() <-chan struct{} { return d.foundFull }

// RoomAgain has those who wait for room look for it.
func (d *Disk) RoomAgain() { d.room.Notify() }

// Waiting tells whether writes of the state wait for room.
func (d *Disk) Waiting() bool { return d.waits.Load() > 0 }
