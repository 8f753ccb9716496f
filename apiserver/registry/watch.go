package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/supervise"
)

// watchTimeout is the shortest time that a watch lasts which states none; the longest is twice that,
// so that clients don't come back all at once.
const watchTimeout = 30 * time.Minute

// Watch streams the changes of a namespace, of all when it is empty, from the resource version in opts
// on. It ends with ctx, with the options' timeout, or when the reader stops it.
func (r *Registry) Watch(ctx context.Context, gvr schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	q, err := r.beginSelection(ctx, "watch", gvr, namespace, &opts)
	if err != nil {
		return nil, err
	}
	if err := checkWatchOptions(&opts); err != nil {
		return nil, err
	}
	start, err := parseVersion(opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	w := &watcher{
		cache: q.kind.cache, selection: q.selection, clock: r.opts.Clock, bookmarks: opts.AllowWatchBookmarks,
		timeout: watchTimeout + rand.N(watchTimeout),
		out:     make(chan watch.Event, 16), wake: make(chan struct{}, 1),
	}
	if opts.TimeoutSeconds != nil && *opts.TimeoutSeconds > 0 {
		w.timeout = time.Duration(*opts.TimeoutSeconds) * time.Second
	}
	if err := r.position(ctx, w, start, &opts); err != nil {
		return nil, err
	}
	return w, r.start(ctx, w)
}

// position sets what the watcher sends first and has changes queued for it from there on.
func (r *Registry) position(ctx context.Context, w *watcher, start int64, opts *metav1.ListOptions) error {
	asked := opts.SendInitialEvents != nil
	initial := asked && *opts.SendInitialEvents
	state := initial || !asked && start == 0
	var err error
	if opts.ResourceVersion == "" {
		err = r.refresh(ctx)
	} else {
		err = r.reach(ctx, start)
	}
	if err != nil {
		return err
	}
	if !state && start == 0 {
		start = -1 // from now on
	}
	return r.register(w, start, state, initial && w.bookmarks)
}

// register joins the watcher to its cache, in one step with what it is to see of the past: the whole
// state, or the changes above start.
func (r *Registry) register(w *watcher, start int64, state, mark bool) error {
	c := w.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.checkReadable(w.selection); err != nil {
		return err
	}
	w.lastBookmark = c.revision
	switch {
	case state:
		w.initial = c.candidatesLocked(w.selection, "")
		if mark {
			w.initialsEnd = formatRevision(c.revision)
		}
	case start < 0:
	case start >= c.since:
		w.queued = c.recent.after(start)
	default:
		joined := c.revision
		w.history = func(ctx context.Context, send func(*change) bool) error {
			return r.replay(ctx, w, start, joined, send)
		}
	}
	w.signal()
	c.watchers.add(w)
	return nil
}

// start runs the watcher, as one of those that Run waits for.
func (r *Registry) start(ctx context.Context, w *watcher) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		w.cache.forget(w)
		return readError(errors.New("the registry is stopping"))
	}
	w.ctx, w.stop = context.WithCancel(ctx)
	detach := context.AfterFunc(r.ctx, w.stop)
	r.watching.Add(1)
	go func() {
		defer r.watching.Done()
		defer detach()
		supervise.Do("watch", r.opts.Logger, w.run) // which closes the stream: its reader watches again
	}()
	return nil
}

// replay sends the changes above start up to the revision at which the watcher joined the cache, read
// from the store.
func (r *Registry) replay(ctx context.Context, w *watcher, start, joined int64, send func(*change) bool) error {
	k := w.cache.kind
	prefix := k.prefix + w.selection.prefix()
	stream := r.storage.NewWatchStream()
	defer stream.Close()
	if _, err := stream.Watch(kv.WatchRequest{Key: []byte(prefix), RangeEnd: prefixEnd(prefix), StartRevision: start + 1, PrevKV: true}); err != nil {
		return readError(err)
	}
	for {
		events, err := nextBefore(ctx, stream, joined)
		if err != nil || events == nil {
			return err
		}
		for _, ev := range events {
			if ev.Kv.ModRevision > joined {
				return nil
			}
			ch, err := k.changeOf(ev)
			if err != nil {
				return err
			}
			if !send(ch) {
				return nil
			}
		}
	}
}

// nextBefore gives the stream's next events; none when it has told all up to joined.
func nextBefore(ctx context.Context, stream *kv.WatchStream, joined int64) ([]*mvccpb.Event, error) {
	for {
		if revision, synced := stream.Progress(); synced && revision >= joined {
			return nil, nil
		}
		waiting, cancel := context.WithTimeout(ctx, progressPeriod)
		events, err := stream.Next(waiting)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil && events.CompactRevision != 0:
			return nil, apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: the oldest that is left is %d", events.CompactRevision))
		case err == nil && len(events.Events) > 0:
			return events.Events, nil
		case err != nil && waiting.Err() == nil:
			return nil, readError(err)
		}
	}
}

// changeOf decodes an event of the store that bears its previous value.
func (k *kind) changeOf(ev *mvccpb.Event) (*change, error) {
	key := string(ev.Kv.Key[len(k.prefix):])
	ch := &change{revision: ev.Kv.ModRevision}
	var err error
	if ev.PrevKv == nil && (ev.Type == mvccpb.Event_DELETE || ev.Kv.Version > 1) {
		return nil, apierrors.NewResourceExpired("too old resource version: what was there before is compacted")
	}
	if ev.PrevKv != nil {
		if ch.was, err = k.entryOf(key, ev.PrevKv); err != nil {
			return nil, err
		}
	}
	if ev.Type == mvccpb.Event_PUT {
		ch.now, err = k.entryOf(key, ev.Kv)
	} else if ch.was != nil {
		ch.last = lastState(ch.was.object, ch.revision)
	}
	return ch, err
}
