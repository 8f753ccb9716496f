package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/supervise"
)

const (
	loadPage = 2000
	// progressPeriod is how often the stream is asked for its progress while somebody waits for it.
	progressPeriod = 2 * time.Millisecond
	// restartPause is the time between attempts to follow a store that fails.
	restartPause = 500 * time.Millisecond
)

// errLost says that the feed can't go on from where it was: the caches must be loaded anew.
var errLost = errors.New("the store has compacted what the cache has not seen")

// feed keeps all caches up to date from one watch of the store.
//
//  1. One goroutine, run's, writes to the caches; revisions reach them in order.
//  2. progress is at or below the revision of every cache.
//  3. Whoever waits for a revision that brings no object's change makes the stream tell its progress;
//     it does so only while someone waits.
type feed struct {
	storage Storage
	kinds   []*kind
	byKey   map[string]*kind // by the store's key prefix
	logger  *slog.Logger

	mu       sync.Mutex
	progress int64              // 0: not loaded
	waiters  int                // callers of wait that have not got what they wait for
	moved    chan struct{}      // closed and replaced when progress moves
	poke     context.CancelFunc // wakes the stream's reader
}

func newFeed(storage Storage, kinds []*kind, logger *slog.Logger) *feed {
	f := &feed{storage: storage, kinds: kinds, byKey: map[string]*kind{}, logger: logger, moved: make(chan struct{})}
	for _, k := range kinds {
		f.byKey[k.prefix] = k
	}
	return f
}

// run loads the caches and follows the store until ctx ends. After a panic nobody knows what the caches have missed: they are
// loaded anew, as after every failure.
func (f *feed) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := supervise.Call("object-cache", f.logger, func() error {
			if err := f.load(ctx); err != nil {
				return err
			}
			return f.follow(ctx)
		})
		if ctx.Err() != nil {
			break
		}
		f.logger.Warn("object cache starts anew", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(restartPause):
		}
	}
	for _, k := range f.kinds {
		k.cache.expireAll()
	}
}

func (c *cache) expireAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers.expireAll()
}

// load reads all objects at one revision.
func (f *feed) load(ctx context.Context) error {
	entries, broken := map[*kind][]*entry{}, map[*kind]unreadable{}
	for _, k := range f.kinds {
		broken[k] = unreadable{}
	}
	req := &pb.RangeRequest{Key: []byte(objectPrefix), RangeEnd: []byte(objectPrefixEnd), Limit: loadPage, Serializable: true}
	for {
		resp, err := f.storage.Range(ctx, req)
		if err != nil {
			return fmt.Errorf("load objects: %w", err)
		}
		if req.Revision == 0 {
			req.Revision = resp.GetHeader().GetRevision()
		}
		for _, pair := range resp.Kvs {
			switch k, key, e, err := f.entryOf(pair); {
			case err != nil:
				broken[k][key] = err
			case e != nil:
				entries[k] = append(entries[k], e)
			}
		}
		if !resp.More || len(resp.Kvs) == 0 {
			break
		}
		req.Key = append(resp.Kvs[len(resp.Kvs)-1].Key, 0)
	}
	for _, k := range f.kinds {
		k.cache.reset(entries[k], broken[k], req.Revision)
	}
	f.advance(req.Revision)
	return nil
}

// follow takes in changes from the caches' revision on until ctx ends or the stream does.
func (f *feed) follow(ctx context.Context) error {
	stream := f.storage.NewWatchStream()
	defer stream.Close()
	f.mu.Lock()
	start := f.progress + 1
	f.mu.Unlock()
	if _, err := stream.Watch(kv.WatchRequest{Key: []byte(objectPrefix), RangeEnd: []byte(objectPrefixEnd), StartRevision: start}); err != nil {
		return fmt.Errorf("watch the store: %w", err)
	}
	for {
		waiting := f.arm(ctx)
		events, err := stream.Next(waiting)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && events.CompactRevision != 0:
			return errLost
		case err == nil:
			f.take(events)
		case waiting.Err() == nil:
			return fmt.Errorf("watch the store: %w", err)
		}
		if revision, synced := stream.Progress(); synced {
			f.advance(revision)
		}
	}
}

// arm makes the context of the next wait for events. It ends soon while somebody waits for a revision
// beyond progress: then the stream is asked for its progress time and again.
func (f *feed) arm(ctx context.Context) context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.poke != nil {
		f.poke()
	}
	if f.waiters > 0 {
		ctx, f.poke = context.WithTimeout(ctx, progressPeriod)
	} else {
		ctx, f.poke = context.WithCancel(ctx)
	}
	return ctx
}

// take brings events into the caches, a kind at a time.
func (f *feed) take(events kv.WatchEvents) {
	writes := map[*kind][]write{}
	for _, ev := range events.Events {
		k, key := f.kindOf(string(ev.Kv.Key))
		if k == nil {
			continue
		}
		w := write{key: key, revision: ev.Kv.ModRevision}
		if ev.Type == mvccpb.Event_PUT {
			_, _, w.now, w.unreadable = f.entryOf(ev.Kv)
		}
		writes[k] = append(writes[k], w)
	}
	for k, list := range writes {
		k.cache.apply(list, events.Revision)
	}
	f.advance(events.Revision)
}

// advance moves every cache to revision and tells those who wait for it.
func (f *feed) advance(revision int64) {
	f.mu.Lock()
	behind := revision > f.progress
	f.mu.Unlock()
	if !behind {
		return
	}
	for _, k := range f.kinds {
		k.cache.apply(nil, revision)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.progress = revision
	close(f.moved)
	f.moved = make(chan struct{})
}

// wait returns once every cache is at revision or above.
func (f *feed) wait(ctx context.Context, revision int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.progress >= revision && f.progress > 0 {
		return nil
	}
	f.waiters++
	defer func() { f.waiters-- }()
	if f.poke != nil {
		f.poke()
	}
	for f.progress < revision || f.progress == 0 {
		moved := f.moved
		f.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// loaded tells whether the caches have been filled.
func (f *feed) loaded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.progress > 0
}

// kindOf splits a store key into its kind and the key within it; nil for a key of no known kind.
func (f *feed) kindOf(key string) (*kind, string) {
	rest, ok := strings.CutPrefix(key, objectPrefix)
	if !ok {
		return nil, ""
	}
	group, rest, _ := strings.Cut(rest, "/")
	plural, name, ok := strings.Cut(rest, "/")
	if !ok {
		return nil, ""
	}
	return f.byKey[objectPrefix+group+"/"+plural+"/"], name
}

// entryOf decodes a stored object; the kind is nil for what is no object of a known one.
func (f *feed) entryOf(pair *mvccpb.KeyValue) (*kind, string, *entry, error) {
	k, key := f.kindOf(string(pair.Key))
	if k == nil {
		return nil, "", nil, nil
	}
	var obj Object
	err := supervise.Call("object-decoder", f.logger, func() (err error) {
		obj, err = k.decode(pair.Value, pair.ModRevision)
		return err
	})
	if err != nil {
		f.logger.Error("a stored object can't be read; whoever asks for it gets an error", "key", string(pair.Key), "error", err)
		return k, key, nil, err
	}
	return k, key, &entry{key: key, revision: pair.ModRevision, object: obj}, nil
}

// at is the revision that every cache is at or above.
func (f *feed) at() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.progress
}
