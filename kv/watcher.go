package kv

type watcherState uint8

const (
	// watcherCatching: what comes next is at the cursor, and is read when Next gets to it.
	watcherCatching watcherState = iota
	// watcherLive: in the hub's index; the dispatcher fills its queue.
	watcherLive
	// watcherGone: cancelled, or its stream was closed.
	watcherGone
)

// watcher is one watch. All but what is fixed at its making is guarded by its stream's mutex.
type watcher struct {
	stream          *WatchStream
	id              int64
	keys            keyRange
	start           int64
	prevKV          bool
	noPut, noDelete bool

	state  watcherState
	begun  bool  // it was live or has caught up with something
	ready  bool  // it is in the stream's ready list
	cursor int64 // the revision that comes next, where it has to catch up
	queue  []*event

	// pending is the dispatcher's: the events of the revision that it is handing out. Guarded by hub.mu.
	pending []*event
}

func (w *watcher) wants(e *event) bool {
	return !(w.noPut && !e.deleted()) && !(w.noDelete && e.deleted()) && w.keys.contains(e.kv.Key)
}
