package raftstore

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

// DiskSpace is how much of a file system is there, in bytes.
type DiskSpace struct {
	Free  int64 // for this process
	Total int64
}

// statfs is the disk space of a directory.
func statfs(dir string) (DiskSpace, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return DiskSpace{}, fmt.Errorf("the free space of %s: %w", dir, err)
	}
	return DiskSpace{Free: int64(s.Bavail) * s.Bsize, Total: int64(s.Blocks) * s.Bsize}, nil
}

// watermarks are the limits for a file system, in bytes. They go with its size, so that a small one is of use
// too, up to a size that is enough on any.
type watermarks struct {
	// low is the free space below which values are refused, high the one above which they are taken again.
	low, high int64
	// reserve is how much is kept back for when the disk is full all the same.
	reserve int64
	// segment is the size of a file of the Raft log, whose space is claimed at once; log is how much the log
	// grows between two cuts at most.
	segment, log int64
	// table is the size of the state's memory tables: when the alarm is raised, several may still have to be written.
	table int64
}

func newWatermarks(total int64) watermarks {
	low := min(max(total/12, 2<<20), 512<<20)
	return watermarks{
		low: low, high: low + low/2,
		reserve: min(max(total/32, 1<<20), 128<<20),
		segment: min(max(total/64, 512<<10), 16<<20),
		log:     max(total/8, 1<<20),
		table:   max(total/64, 1<<20),
	}
}

// diskPeriod is how often the free space is looked at.
const diskPeriod = time.Second

// disk is the disk of a member, as far as its space goes.
//
// What is written is of four kinds, and a full disk harms none of them: the Raft log refuses entries (who
// leads then gives up the lead); the term and vote lie in space that was claimed before; the state's small
// files wait (see kv.FullDisk), its tables are written again later; snapshots fail and are made again. Before
// any of that, the reserve is given up.
type disk struct {
	dirs   []string
	space  func(dir string) (DiskSpace, error)
	clock  clock.Clock
	logger *slog.Logger
	marks  watermarks

	reserve reserve
	// struck has a token after the disk was found full.
	struck chan struct{}
	// room is notified when there may be room again; waiting are the writes of the state that wait for it.
	room    notify.Signal
	waiting atomic.Int32

	serving context.Context // until the member is being closed
	stop    context.CancelFunc
	mu      sync.Mutex
	open    bool
	latest  DiskSpace
	// reclaimed is what there was in the state when its space was reclaimed last.
	reclaimed  struct{ live, compacted int64 }
	reclaiming atomic.Bool
	// reclaimAgain says that it was not done to the end.
	reclaimAgain atomic.Bool
}

// newDisk looks at the disk of the directories, which exist; the first has the reserve.
func newDisk(config *Config, life context.Context, dirs ...string) (*disk, error) {
	d := &disk{
		dirs: dirs, space: config.DiskSpace, clock: config.Clock, logger: config.Logger,
		struck: make(chan struct{}, 1),
	}
	d.serving, d.stop = context.WithCancel(life)
	now, err := d.look()
	if err != nil {
		return nil, err
	}
	d.marks = newWatermarks(now.Total)
	d.reserve.path, d.reserve.size = reservePath(dirs[0]), d.marks.reserve
	d.makeReserve(now)
	return d, nil
}

// openDisk begins to look after the disk. The state and the log are bounded by its size.
func (m *Member) openDisk() (err error) {
	dirs := []string{m.config.DataDir}
	if m.config.LogDir != "" {
		if err := durable.MakeDir(m.config.LogDir); err != nil {
			return err
		}
		dirs = append(dirs, m.config.LogDir)
	}
	if m.disk, err = newDisk(&m.config, m.life, dirs...); err != nil {
		return err
	}
	m.overQuota = make(chan struct{}, 1)
	m.config.SnapshotBytes = min(m.config.SnapshotBytes, m.disk.marks.log)
	return nil
}

// bound makes the state wait for room, and its memory tables no larger than the disk is fit for.
func (d *disk) bound(options *kv.Options) {
	options.DiskFull = d.storeFull
	options.MemTableBytes = min(options.TableBytes(), uint64(d.marks.table))
}

// claimStable claims space for the term and the vote, which are kept in a directory of the log.
func (d *disk) claimStable(dir string) {
	err := durable.MakeDir(dir)
	if err == nil {
		err = claimStable(filepath.Join(dir, "stable.db"))
	}
	if err != nil {
		d.logger.Warn("no space was claimed for the term and the vote", "error", err)
	}
}

// look asks for the free space: the least of all directories.
func (d *disk) look() (DiskSpace, error) {
	var least DiskSpace
	for i, dir := range d.dirs {
		space, err := d.space(dir)
		if err != nil {
			return DiskSpace{}, err
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

// makeReserve claims the reserve, if there is room for it beside what has to be free.
func (d *disk) makeReserve(now DiskSpace) {
	if d.reserve.held() || now.Free < d.marks.low+d.reserve.size {
		return
	}
	if err := d.reserve.claim(); err != nil {
		d.logger.Warn("no space was reserved for when the disk is full", "bytes", d.reserve.size, "error", err)
	}
}

// opened says that the state is open: from now on its writes wait for room. Opening it fails on a full disk,
// so that whoever started the member learns of it.
func (d *disk) opened(store *kv.Store) error {
	d.mu.Lock()
	d.open = true
	d.mu.Unlock()
	return store.OnDisk()
}

// full gives up the reserve after a write has found the disk full. It returns false if there was none.
func (d *disk) full() bool {
	select {
	case d.struck <- struct{}{}:
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
func (d *disk) storeFull() kv.FullDisk {
	room := d.room.Next()
	if d.full() {
		return kv.FullRetry
	}
	d.mu.Lock()
	open := d.open
	d.mu.Unlock()
	if d.serving.Err() != nil || !open {
		return kv.FullAbandon
	}
	d.waiting.Add(1)
	defer d.waiting.Add(-1)
	timer := d.clock.NewTimer(diskPeriod)
	defer timer.Stop()
	select {
	case <-room:
	case <-timer.C():
	case <-d.serving.Done():
	}
	return kv.FullRetry
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// status is what was free at the last look, and what is wanted free and is kept back.
func (d *disk) status() (space DiskSpace, low, reserved int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reserve.held() {
		reserved = d.reserve.size
	}
	return d.latest, d.marks.low, reserved
}

// short tells whether there was less free, at the last look, than there should be again.
func (d *disk) short() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.latest.Free < d.marks.high
}
