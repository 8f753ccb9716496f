package disk

import "sync/atomic"

// The kinds of work that a member's disks are given. Nothing of it fails where a disk hangs: it does not end.
const (
	WorkLog   = "log"   // entries of the Raft log
	WorkVote  = "vote"  // the term and the vote
	WorkState = "state" // entries that are applied
)

// Work counts what a disk was given to do, and what of that has ended. It takes no lock, so that whoever looks at it
// never waits for the disk himself.
type Work struct{ begun, ended atomic.Uint64 }

// Begin counts what the disk is given now.
func (w *Work) Begin(n int) { w.begun.Add(uint64(n)) }

// End counts what of that has ended, whether it was done or failed.
func (w *Work) End(n int) { w.ended.Add(uint64(n)) }

// Pending is what has not ended.
func (w *Work) Pending() uint64 { return w.begun.Load() - w.ended.Load() }

// StallLooks is how many looks at a work make an election timeout; StateStallLooks is how many it takes to call the state's
// disk hung. An entry that changes very much takes its time on a slow disk, at all members alike, and whatever its writer is
// told meanwhile is worse than waiting.
const (
	StallLooks      = 4
	StateStallLooks = 5 * StallLooks
)

// StallWatch finds work that had begun so many looks ago and has not ended, for one goroutine. It counts looks, not time: a process
// that was stopped for a while has not looked meanwhile, and a clock that jumps makes no difference.
type StallWatch struct {
	Kind   string
	work   *Work
	paused func() bool // nil: it never is
	begun  []uint64    // what had begun at the last looks
	next   int         // the oldest of them
}

// NewStallWatch watches a kind of work, which stalls once it has not ended for so many looks.
func NewStallWatch(kind string, work *Work, looks int) *StallWatch {
	return &StallWatch{Kind: kind, work: work, begun: make([]uint64, looks)}
}

// PausedWhile has the work not count as stalling while it waits for something else than the disk.
func (w *StallWatch) PausedWhile(paused func() bool) *StallWatch {
	w.paused = paused
	return w
}

// Look tells whether the work stalls.
func (w *StallWatch) Look() bool {
	if w.paused != nil && w.paused() {
		clear(w.begun)
		return false
	}
	stalls := w.work.ended.Load() < w.begun[w.next]
	w.begun[w.next] = w.work.begun.Load()
	w.next = (w.next + 1) % len(w.begun)
	return stalls
}
