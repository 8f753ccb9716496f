package disk

import (
	"sync"
	"syscall"
	"time"
)

// faults are what is wrong with a disk now.
type faults struct {
	mu      sync.Mutex
	now     state
	changed chan struct{} // closed when now changes; nil: nobody waits
}

type state struct {
	cut, hangs, fails, full bool
	slow                    time.Duration
	free                    int64 // of a full disk: what was given back since
}

func (f *faults) set(s state) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = s
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// Hang has nothing that is asked for come to an end until the disk is well again.
func (d *Disk) Hang() { d.become(state{hangs: true}) }

// Slow has every write and sync take longer.
func (d *Disk) Slow(by time.Duration) { d.become(state{slow: by}) }

// Fail has all writes and syncs fail.
func (d *Disk) Fail() { d.become(state{fails: true}) }

// Full has no room for anything but what is given back from now on.
func (d *Disk) Full() { d.become(state{full: true}) }

// Heal has the disk well again.
func (d *Disk) Heal() { d.become(state{}) }

// become changes what is wrong. Nothing makes a cut undone but Restore.
func (d *Disk) become(s state) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.faults.is().cut {
		d.faults.set(s)
	}
}

func (f *faults) is() state {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// pass returns when what is asked for may be done, or why it can't be. Only what changes the disk is slow and fails.
func (f *faults) pass(changes bool) syscall.Errno {
	slept := false
	for {
		f.mu.Lock()
		now := f.now
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		changed := f.changed
		f.mu.Unlock()
		switch {
		case now.cut:
			return syscall.EIO
		case now.hangs:
			<-changed
		case changes && now.fails:
			return syscall.EIO
		case changes && now.slow > 0 && !slept:
			select {
			case <-time.After(now.slow):
			case <-changed:
			}
			slept = true
		default:
			return 0
		}
	}
}

// allocate takes room for a file that grows; false: there is none.
func (f *faults) allocate(bytes int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.now.full || bytes <= 0 {
		return true
	}
	if bytes > f.now.free {
		return false
	}
	f.now.free -= bytes
	return true
}

// giveBack makes room.
func (f *faults) giveBack(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now.free += bytes
}
