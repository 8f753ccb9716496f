// Package robustness holds what must be true of the store under faults against what its clients see.
package robustness

import (
	"context"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Each guarantee of etcd's watch API holds for every watch of a run with concurrent writers, compactions, slow readers,
// changes of the leader, restarts and members that fall behind until they get a snapshot (see record).

// Events come in the order of revisions.
func TestWatchIsOrdered(t *testing.T) {
	eachSegment(t, func(t *testing.T, s *segment) {
		last := int64(0)
		for _, e := range s.events() {
			if e.Kv.ModRevision < last {
				t.Errorf("revision %d after %d", e.Kv.ModRevision, last)
			}
			last = e.Kv.ModRevision
		}
	})
}

// An event comes once.
func TestWatchIsUnique(t *testing.T) {
	eachSegment(t, func(t *testing.T, s *segment) {
		seen := map[change]bool{}
		for _, e := range s.events() {
			c := change{e.Kv.ModRevision, string(e.Kv.Key)}
			if seen[c] {
				t.Errorf("%v comes twice", c)
			}
			seen[c] = true
		}
	})
}

// The events of a revision come together: in one response, and none of them is missing.
func TestWatchIsAtomic(t *testing.T) {
	r := record(t)
	eachSegment(t, func(t *testing.T, s *segment) {
		last := int64(0)
		for _, response := range s.responses {
			count := map[int64]int{}
			for _, e := range response.Events {
				count[e.Kv.ModRevision]++
			}
			for revision, n := range count {
				if revision == last {
					t.Errorf("revision %d is split", revision)
				}
				if want := r.count(s.watch, revision); n != want && !s.watch.last(response.Events[len(response.Events)-1]) {
					t.Errorf("revision %d: %d of %d events", revision, n, want)
				}
			}
			if n := len(response.Events); n > 0 {
				last = response.Events[n-1].Kv.ModRevision
			}
		}
	})
}

// No event is missing between the first and the last: each write that was acknowledged is seen, and each that anybody saw.
func TestWatchIsReliable(t *testing.T) {
	r := record(t)
	for _, a := range r.acknowledged {
		if got, ok := r.truth[a.change]; !ok || string(got.Kv.Value) != a.value {
			t.Errorf("%v was acknowledged, and nobody saw it", a)
		}
	}
	eachSegment(t, func(t *testing.T, s *segment) {
		seen := map[change]bool{}
		last := s.start - 1
		for _, e := range s.events() {
			seen[change{e.Kv.ModRevision, string(e.Kv.Key)}] = true
			last = e.Kv.ModRevision
		}
		for c, e := range r.truth {
			if c.revision >= s.start && c.revision <= last && s.watch.wants(e) && !seen[c] {
				t.Errorf("%v is missing between %d and %d", c, s.start, last)
			}
		}
	})
}

// A watch that is taken up again after the last revision that was seen misses nothing and repeats nothing.
func TestWatchIsResumable(t *testing.T) {
	r := record(t)
	resumed := 0
	for _, w := range r.watches {
		for i, s := range w.segments[1:] {
			before := w.segments[i]
			if s.compacted {
				continue
			}
			resumed++
			if s.start != before.seen+1 {
				t.Fatalf("%s: resumed at %d after %d", w.name, s.start, before.seen)
			}
			for _, e := range s.events() {
				if e.Kv.ModRevision < s.start {
					t.Errorf("%s: revision %d, older than %d", w.name, e.Kv.ModRevision, s.start)
				}
			}
		}
	}
	if resumed == 0 {
		t.Error("no watch was taken up again: nothing was tested")
	}
}

// A report of progress comes after all events up to its revision, and before all others.
func TestWatchIsBookmarkable(t *testing.T) {
	r := record(t)
	bookmarks := 0
	eachSegment(t, func(t *testing.T, s *segment) {
		seen := map[change]bool{}
		bookmark := int64(0)
		for _, response := range s.responses {
			for _, e := range response.Events {
				if e.Kv.ModRevision <= bookmark {
					t.Errorf("revision %d after a bookmark at %d", e.Kv.ModRevision, bookmark)
				}
				seen[change{e.Kv.ModRevision, string(e.Kv.Key)}] = true
			}
			if !response.IsProgressNotify() {
				continue
			}
			bookmarks++
			if response.Header.Revision < bookmark {
				t.Errorf("a bookmark at %d after one at %d", response.Header.Revision, bookmark)
			}
			bookmark = response.Header.Revision
			for c, e := range r.truth {
				if c.revision >= s.start && c.revision <= bookmark && s.watch.wants(e) && !seen[c] {
					t.Errorf("a bookmark at %d before %v", bookmark, c)
				}
			}
		}
	})
	if bookmarks == 0 {
		t.Error("no progress was reported: nothing was tested")
	}
}

// An event's previous value is what the key held right before, or nothing where that is compacted.
func TestWatchPrevKV(t *testing.T) {
	r := record(t)
	with := 0
	eachSegment(t, func(t *testing.T, s *segment) {
		for _, e := range s.events() {
			before := r.before(e)
			switch {
			case e.PrevKv == nil:
			case before == nil || before.Type == mvccpb.Event_DELETE:
				t.Errorf("%s@%d has a previous value, and was not there", e.Kv.Key, e.Kv.ModRevision)
			case e.PrevKv.ModRevision != before.Kv.ModRevision || string(e.PrevKv.Value) != string(before.Kv.Value):
				t.Errorf("%s@%d: previous %v, want %v", e.Kv.Key, e.Kv.ModRevision, e.PrevKv, before.Kv)
			default:
				with++
			}
		}
	})
	if with == 0 {
		t.Error("no event had a previous value: nothing was tested")
	}
}

// An event is a creation exactly if its key was not there, and its version counts from there.
func TestWatchIsCreate(t *testing.T) {
	r := record(t)
	eachSegment(t, func(t *testing.T, s *segment) {
		for _, e := range s.events() {
			before := r.before(e)
			if before == nil && e.Kv.Version > 1 || e.Type == mvccpb.Event_DELETE {
				continue // what was there before is compacted
			}
			created := before == nil || before.Type == mvccpb.Event_DELETE
			if e.IsCreate() != created {
				t.Errorf("%s@%d: creation %v, want %v", e.Kv.Key, e.Kv.ModRevision, e.IsCreate(), created)
			}
			if !created && (e.Kv.Version != before.Kv.Version+1 || e.Kv.CreateRevision != before.Kv.CreateRevision) {
				t.Errorf("%s@%d: version %d after %d", e.Kv.Key, e.Kv.ModRevision, e.Kv.Version, before.Kv.Version)
			}
		}
	})
}

func eachSegment(t *testing.T, check func(*testing.T, *segment)) {
	for _, w := range record(t).watches {
		t.Run(w.name, func(t *testing.T) {
			for _, s := range w.segments {
				check(t, s)
			}
		})
	}
}

// change names an event.
type change struct {
	revision int64
	key      string
}

// segment is what one watch of a series saw.
type segment struct {
	watch     *watch
	start     int64 // the revision asked for
	seen      int64 // the last revision seen, by event or bookmark
	compacted bool  // it begins at a compaction, as what it should have begun with was gone
	responses []clientv3.WatchResponse
}

func (s *segment) events() (all []*clientv3.Event) {
	for _, r := range s.responses {
		all = append(all, r.Events...)
	}
	return all
}

// watch is a series of watches, of which each goes on where the one before ended.
type watch struct {
	name     string
	client   *clientv3.Client
	key      string
	options  []clientv3.OpOption
	wants    func(*clientv3.Event) bool
	last     func(*clientv3.Event) bool // the event that ends it
	breaks   int                        // begin a new segment after as many responses; 0: never
	pause    func() error               // is called before each response is read
	segments []*segment
}

// follow watches until it sees the last write.
func (w *watch) follow(ctx context.Context) {
	start, compacted := int64(1), false
	for ended := false; !ended && ctx.Err() == nil; {
		s := &segment{watch: w, start: start, seen: start - 1, compacted: compacted}
		w.segments = append(w.segments, s)
		ended = w.one(ctx, s)
		start, compacted = s.seen+1, false
		if n := len(s.responses); n > 0 && s.responses[n-1].CompactRevision > start {
			start, compacted = s.responses[n-1].CompactRevision, true
		}
	}
}

// one is one watch of the series. It returns whether the last write was seen.
func (w *watch) one(ctx context.Context, s *segment) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	options := append([]clientv3.OpOption{clientv3.WithRev(s.start)}, w.options...)
	events := w.client.Watch(ctx, w.key, options...)
	for w.breaks == 0 || len(s.responses) < w.breaks {
		if w.pause != nil && w.pause() != nil {
			return false
		}
		r, ok := <-events
		if !ok {
			return false
		}
		s.responses = append(s.responses, r)
		if r.Err() != nil {
			return false
		}
		if r.IsProgressNotify() {
			s.seen = max(s.seen, r.Header.Revision)
		}
		for _, e := range r.Events {
			s.seen = max(s.seen, e.Kv.ModRevision)
			if w.last(e) {
				return true
			}
		}
	}
	return false
}
