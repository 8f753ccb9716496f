package check

import (
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/test/robustness/traffic"
)

func eachSegment(h *traffic.History, check func(*traffic.Watch, *traffic.Segment)) {
	for _, w := range h.Watches {
		for _, s := range w.Segments {
			check(w, s)
		}
	}
}

// watchOrder: events come in the order of revisions, each once, and none that was not asked for.
func watchOrder(h *traffic.History, _ *timeline) []Violation {
	v := violations{check: "watches are ordered and unique"}
	eachSegment(h, func(w *traffic.Watch, s *traffic.Segment) {
		last := int64(0)
		seen := map[change]bool{}
		for _, e := range s.Events() {
			c := change{e.Kv.ModRevision, string(e.Kv.Key)}
			switch {
			case e.Kv.ModRevision < last:
				v.add(nil, "%s: revision %d after %d", w.Name, e.Kv.ModRevision, last)
			case seen[c]:
				v.add(nil, "%s: %v comes twice", w.Name, c)
			case e.Kv.ModRevision < s.Start:
				v.add(nil, "%s: revision %d, older than %d, from which on it was asked for", w.Name, e.Kv.ModRevision, s.Start)
			case !w.Wants(e):
				v.add(nil, "%s: %v was not asked for", w.Name, e)
			}
			seen[c], last = true, e.Kv.ModRevision
		}
	})
	return v.found
}

// watchAtomic: the events of a revision come together: in one response, and none of them is missing.
func watchAtomic(h *traffic.History, t *timeline) []Violation {
	v := violations{check: "watches are atomic"}
	eachSegment(h, func(w *traffic.Watch, s *traffic.Segment) {
		last := int64(0)
		for _, response := range s.Responses {
			count := map[int64]int{}
			for _, e := range response.Events {
				count[e.Kv.ModRevision]++
			}
			for revision, n := range count {
				if revision == last {
					v.add(nil, "%s: revision %d is split", w.Name, revision)
				}
				want := 0
				for _, e := range t.revisions[revision] {
					if w.Wants(e) {
						want++
					}
				}
				if n != want {
					v.add(nil, "%s: revision %d: %d of %d events came together", w.Name, revision, n, want)
				}
			}
			if n := len(response.Events); n > 0 {
				last = response.Events[n-1].Kv.ModRevision
			}
		}
	})
	return v.found
}

// watchReliable: no event is missing between the first and the last revision that a watch saw.
func watchReliable(h *traffic.History, t *timeline) []Violation {
	v := violations{check: "watches miss nothing"}
	eachSegment(h, func(w *traffic.Watch, s *traffic.Segment) {
		seen := map[change]bool{}
		last := s.Start - 1
		for _, e := range s.Events() {
			seen[change{e.Kv.ModRevision, string(e.Kv.Key)}] = true
			last = e.Kv.ModRevision
		}
		last = max(last, s.Seen)
		for c, e := range t.events {
			if c.revision >= s.Start && c.revision <= last && w.Wants(e) && !seen[c] {
				v.add(nil, "%s: %v is missing between %d and %d", w.Name, c, s.Start, last)
			}
		}
	})
	return v.found
}

// watchResumable: a watch that is taken up again after the last revision that was seen goes on there.
func watchResumable(h *traffic.History, _ *timeline) []Violation {
	v := violations{check: "watches can be resumed"}
	for _, w := range h.Watches {
		for i := 1; i < len(w.Segments); i++ {
			before, s := w.Segments[i-1], w.Segments[i]
			if !s.Compacted && s.Start != before.Seen+1 {
				v.add(nil, "%s: resumed at %d after %d", w.Name, s.Start, before.Seen)
			}
		}
	}
	return v.found
}

// watchBookmarks: a report of progress comes after all events up to its revision, and before all others.
func watchBookmarks(h *traffic.History, t *timeline) []Violation {
	v := violations{check: "watches' reports of progress are true"}
	eachSegment(h, func(w *traffic.Watch, s *traffic.Segment) {
		bookmark := int64(0)
		for _, response := range s.Responses {
			for _, e := range response.Events {
				if e.Kv.ModRevision <= bookmark {
					v.add(nil, "%s: revision %d after a report of progress at %d", w.Name, e.Kv.ModRevision, bookmark)
				}
			}
			if response.IsProgressNotify() {
				if response.Header.Revision < bookmark {
					v.add(nil, "%s: a report of progress at %d after one at %d", w.Name, response.Header.Revision, bookmark)
				}
				bookmark = response.Header.Revision
			}
		}
	})
	return v.found
}

// watchPrevious: the value before is what the key held right before, or nothing where that is compacted; and an event is a
// creation exactly if its key was not there.
func watchPrevious(h *traffic.History, t *timeline) []Violation {
	v := violations{check: "events know what was before"}
	eachSegment(h, func(w *traffic.Watch, s *traffic.Segment) {
		for _, e := range s.Events() {
			before := t.before(string(e.Kv.Key), e.Kv.ModRevision)
			there := before != nil && before.Type == mvccpb.Event_PUT
			switch {
			case e.PrevKv != nil && !there:
				v.add(nil, "%s: %s at %d has a previous value, and was not there", w.Name, e.Kv.Key, e.Kv.ModRevision)
			case e.PrevKv != nil && !same(e.PrevKv, before.Kv):
				v.add(nil, "%s: %s at %d: the value before is {%v}, want {%v}", w.Name, e.Kv.Key, e.Kv.ModRevision, e.PrevKv, before.Kv)
			case e.Type == mvccpb.Event_PUT && e.IsCreate() == there:
				v.add(nil, "%s: %s at %d is a creation: %v, want %v", w.Name, e.Kv.Key, e.Kv.ModRevision, e.IsCreate(), !there)
			case e.Type == mvccpb.Event_PUT && !versionFollows(e, before):
				v.add(nil, "%s: %s at %d has version %d, created at %d, after {%v}", w.Name, e.Kv.Key, e.Kv.ModRevision, e.Kv.Version, e.Kv.CreateRevision, before)
			}
		}
	})
	return v.found
}

func versionFollows(e, before *clientv3.Event) bool {
	if e.IsCreate() {
		return e.Kv.Version == 1
	}
	return before != nil && e.Kv.Version == before.Kv.Version+1 && e.Kv.CreateRevision == before.Kv.CreateRevision
}
