package registry

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"
)

// queueLimit bounds the changes that wait for one watcher. What waits is shared by all watchers; a
// watcher's own cost is one pointer a change.
const queueLimit = 16 << 10

// takeLimit bounds the changes that a watcher takes off its queue at a time, and holds beside it.
const takeLimit = 256

// bookmarkPeriod is how often a watcher that asked for bookmarks gets one.
const bookmarkPeriod = time.Minute

// watcher carries the changes of one kind to one reader. It is a watch.Interface.
//
//  1. Changes are sent in order of revision, each once, from the one after start on.
//  2. A reader that is slower than its queue is long gets a 410 error and the end of its stream; it
//     never delays the cache or another watcher.
//  3. A bookmark is sent only when everything up to its revision was.
type watcher struct {
	cache     *cache
	selection selection
	clock     clock.WithTicker
	bookmarks bool
	timeout   time.Duration // 0: none

	// What is sent before the queue: the state that the watch starts from, then what followed.
	initial      each   // nil: nothing
	initialsEnd  string // resource version of the bookmark that closes the initial state; empty: none
	history      func(ctx context.Context, send func(*change) bool) error
	out          chan watch.Event
	ctx          context.Context
	stop         context.CancelFunc
	wake         chan struct{}
	mu           sync.Mutex
	queued       []*change
	expired      bool
	lastBookmark int64
}

// ResultChan gives the stream of events, closed when the watch has ended.
func (w *watcher) ResultChan() <-chan watch.Event { return w.out }

// Stop ends the watch.
func (w *watcher) Stop() { w.stop() }

// push queues a change; the caller holds the cache's lock.
func (w *watcher) push(ch *change) {
	w.mu.Lock()
	if len(w.queued) >= queueLimit {
		w.queued, w.expired = nil, true
	} else if !w.expired {
		w.queued = append(w.queued, ch)
	}
	w.mu.Unlock()
	w.signal()
}

// expire ends the watch with a 410 error.
func (w *watcher) expire() {
	w.mu.Lock()
	w.queued, w.expired = nil, true
	w.mu.Unlock()
	w.signal()
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) take() (changes []*change, expired bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.queued), takeLimit)
	changes, w.queued = w.queued[:n:n], w.queued[n:]
	return changes, w.expired
}

// run sends until the watch is stopped, times out or fails. It closes the stream.
func (w *watcher) run() {
	defer close(w.out)
	defer w.cache.forget(w)
	defer w.stop()
	var deadline <-chan time.Time
	if w.timeout > 0 {
		timer := w.clock.NewTimer(w.timeout)
		defer timer.Stop()
		deadline = timer.C()
	}
	if !w.sendInitial() || !w.sendHistory() {
		return
	}
	var tick <-chan time.Time
	if w.bookmarks {
		ticker := w.clock.NewTicker(bookmarkPeriod)
		defer ticker.Stop()
		tick = ticker.C()
	}
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-deadline:
			if w.sendQueued() && w.bookmarks {
				w.sendBookmark()
			}
			return
		case <-tick:
			if !w.sendQueued() || !w.sendBookmark() {
				return
			}
		case <-w.wake:
			if !w.sendQueued() {
				return
			}
		}
	}
}

func (w *watcher) sendInitial() bool {
	if w.initial != nil {
		sent := true
		w.initial(func(e *entry) bool {
			sent = !w.selection.matches(e) || w.send(watch.Event{Type: watch.Added, Object: e.object})
			return sent
		})
		w.initial = nil // a long watch must not hold on to the state that it began with
		if !sent {
			return false
		}
	}
	if w.initialsEnd == "" {
		return true
	}
	mark := w.newBookmark(w.initialsEnd)
	mark.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	return w.send(watch.Event{Type: watch.Bookmark, Object: mark})
}

func (w *watcher) sendHistory() bool {
	if w.history == nil {
		return true
	}
	err := w.history(w.ctx, w.sendChange)
	if err != nil && w.ctx.Err() == nil {
		w.sendError(err)
	}
	return err == nil && w.ctx.Err() == nil
}

func (w *watcher) sendQueued() bool {
	for {
		changes, expired := w.take()
		for _, ch := range changes {
			if !w.sendChange(ch) {
				return false
			}
		}
		if expired {
			w.sendError(apierrors.NewResourceExpired("too old resource version: the watch fell too far behind; list again and watch from there"))
			return false
		}
		if len(changes) == 0 {
			return true
		}
	}
}

// sendChange sends what a change is to this watcher: an object that comes to match its selectors is
// added, one that ceases to is deleted.
func (w *watcher) sendChange(ch *change) bool {
	was := ch.was != nil && w.selection.matches(ch.was)
	now := ch.now != nil && w.selection.matches(ch.now)
	switch {
	case now && was:
		return w.send(watch.Event{Type: watch.Modified, Object: ch.now.object})
	case now:
		return w.send(watch.Event{Type: watch.Added, Object: ch.now.object})
	case was && ch.now == nil:
		return w.send(watch.Event{Type: watch.Deleted, Object: ch.last})
	case was:
		return w.send(watch.Event{Type: watch.Deleted, Object: lastState(ch.was.object, ch.revision)})
	}
	return true
}

// sendBookmark tells the reader how far it has seen everything.
func (w *watcher) sendBookmark() bool {
	revision := w.cache.currentRevision()
	w.mu.Lock()
	behind := len(w.queued) > 0 || w.expired
	w.mu.Unlock()
	if behind || revision <= w.lastBookmark {
		return true
	}
	w.lastBookmark = revision
	return w.send(watch.Event{Type: watch.Bookmark, Object: w.newBookmark(formatRevision(revision))})
}

func (w *watcher) newBookmark(version string) Object {
	k := w.cache.kind
	mark := k.New().(Object)
	mark.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind())
	mark.SetResourceVersion(version)
	return mark
}

func (w *watcher) sendError(err error) bool {
	status := statusOf(err).Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	return w.send(watch.Event{Type: watch.Error, Object: &status})
}

func (w *watcher) send(ev watch.Event) bool {
	select {
	case w.out <- ev:
		return true
	case <-w.ctx.Done():
		return false
	}
}
