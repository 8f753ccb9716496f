package traffic

import (
	"context"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Watch is a series of watches, of which each goes on where the one before ended.
type Watch struct {
	Name string
	// Wants tells the events that it asked for.
	Wants    func(*clientv3.Event) bool
	Segments []*Segment

	client  *clientv3.Client
	target  *Target // nil: any member
	key     string
	options []clientv3.OpOption
	fromNow bool
	breaks  int           // begin a new segment after as many responses; 0: never
	slow    time.Duration // the pause before each response is read
	seen    atomic.Int64
	// watcher is a stream of the segment's own: a report of progress is about all watches of a stream, also about one that has ended.
	watcher atomic.Pointer[clientv3.Watcher]
}

// Segment is what one watch of a series saw.
type Segment struct {
	Watch *Watch
	// Start is the first revision that it has to see.
	Start int64
	// Seen is the last revision seen, by event or bookmark.
	Seen int64
	// Compacted: it begins at a compaction, as what it should have begun with was gone.
	Compacted bool
	Responses []Response
}

// Response is a response of a watch, and when it came.
type Response struct {
	clientv3.WatchResponse
	At time.Duration
}

// Events are those of all responses.
func (s *Segment) Events() (all []*clientv3.Event) {
	for _, r := range s.Responses {
		all = append(all, r.Events...)
	}
	return all
}

// end is the revision of the last write. It may be looked at when known is closed.
type end struct {
	revision int64
	known    chan struct{}
}

func all(*clientv3.Event) bool { return true }

// follow watches until it has seen the last write.
func (w *Watch) follow(ctx context.Context, h *History, last *end) {
	start, compacted, fromNow := h.Start+1, false, w.fromNow
	w.seen.Store(h.Start)
	for ended := false; !ended && ctx.Err() == nil; {
		s := &Segment{Watch: w, Start: start, Seen: start - 1, Compacted: compacted}
		if fromNow {
			s.Start, s.Seen = 0, 0 // as the answer will say
		}
		ended = w.one(ctx, h, s, fromNow, last)
		if s.Start == 0 {
			continue
		}
		w.Segments = append(w.Segments, s)
		start, compacted, fromNow = s.Seen+1, false, false
		if n := len(s.Responses); n > 0 && s.Responses[n-1].CompactRevision > start {
			start, compacted = s.Responses[n-1].CompactRevision, true
		}
	}
}

// requestProgress asks how far the watch is.
func (w *Watch) requestProgress(ctx context.Context) {
	if watcher := w.watcher.Load(); watcher != nil {
		_ = (*watcher).RequestProgress(ctx) // one whose member is away has none
	}
}

// one is one watch of the series. It returns whether it has seen the last write.
func (w *Watch) one(ctx context.Context, h *History, s *Segment, fromNow bool, last *end) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	options := append([]clientv3.OpOption{clientv3.WithPrevKV(), clientv3.WithCreatedNotify()}, w.options...)
	if !fromNow {
		options = append(options, clientv3.WithRev(s.Start))
	}
	life := int64(-1)
	if w.target != nil {
		life = w.target.Life()
	}
	known := last.known
	called := h.Now()
	watcher := clientv3.NewWatcher(w.client)
	defer watcher.Close()
	w.watcher.Store(&watcher)
	responses := watcher.Watch(ctx, w.key, options...)
	for n := 0; w.breaks == 0 || n < w.breaks; n++ {
		if w.slow > 0 {
			select {
			case <-time.After(w.slow):
			case <-last.known:
			}
		}
		var r clientv3.WatchResponse
		ok := true
		select {
		case r, ok = <-responses:
		case <-known:
			if known = nil; s.Seen >= last.revision {
				return true
			}
			continue
		}
		if !ok {
			return false
		}
		if r.Created {
			w.created(h, s, r, fromNow, called, life)
			continue
		}
		s.Responses = append(s.Responses, Response{r, h.Now()})
		if r.Err() != nil {
			return false
		}
		if r.IsProgressNotify() {
			s.Seen = max(s.Seen, r.Header.Revision)
		}
		for _, e := range r.Events {
			s.Seen = max(s.Seen, e.Kv.ModRevision)
		}
		w.seen.Store(s.Seen)
		if known == nil && s.Seen >= last.revision {
			return true
		}
	}
	return false
}

// created takes note of the revision that a watch was created at. The answer is one that a member gave, like any other.
func (w *Watch) created(h *History, s *Segment, r clientv3.WatchResponse, fromNow bool, called time.Duration, life int64) {
	if fromNow {
		s.Start, s.Seen = r.Header.Revision+1, r.Header.Revision
	}
	if w.target == nil {
		return
	}
	o := &Op{Client: -1, Member: w.target.Number, Life: life, Call: called, Return: h.Now(), Request: createRequest(w.key, s.Start), Response: createResponse(r)}
	if w.target.Life() != life {
		o.Life = -1
	}
	h.add(o)
}
