package check

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/test/robustness/traffic"
)

// change names an event.
type change struct {
	revision int64
	key      string
}

// timeline is every event that any watch saw, and so what the store held at each revision of a round.
type timeline struct {
	events    map[change]*clientv3.Event
	seenAt    map[change]time.Duration // the first time
	revisions map[int64][]*clientv3.Event
	// history are the events of a key in their order.
	history map[string][]*clientv3.Event
	keys    []string // sorted
	// byValue are the writes of each value: values are written once.
	byValue map[string][]*clientv3.Event
	last    int64
}

// newTimeline gathers what was seen. Two watches that saw different things are a violation.
func newTimeline(h *traffic.History) (*timeline, []Violation) {
	v := violations{check: "watches agree"}
	t := &timeline{
		events: map[change]*clientv3.Event{}, seenAt: map[change]time.Duration{}, revisions: map[int64][]*clientv3.Event{},
		history: map[string][]*clientv3.Event{}, byValue: map[string][]*clientv3.Event{}, last: h.Last,
	}
	for _, w := range h.Watches {
		for _, s := range w.Segments {
			for _, r := range s.Responses {
				for _, e := range r.Events {
					c := change{e.Kv.ModRevision, string(e.Kv.Key)}
					known, ok := t.events[c]
					if !ok {
						t.events[c], t.seenAt[c] = e, r.At
						continue
					}
					t.seenAt[c] = min(t.seenAt[c], r.At)
					if known.Type != e.Type || !bytes.Equal(known.Kv.Value, e.Kv.Value) || known.Kv.Version != e.Kv.Version ||
						known.Kv.CreateRevision != e.Kv.CreateRevision || known.Kv.Lease != e.Kv.Lease {
						v.add(nil, "the watch %s saw %v, another one %v", w.Name, e, known)
					}
				}
			}
		}
	}
	for c, e := range t.events {
		t.history[c.key] = append(t.history[c.key], e)
		t.revisions[c.revision] = append(t.revisions[c.revision], e)
		if e.Type == mvccpb.Event_PUT {
			t.byValue[string(e.Kv.Value)] = append(t.byValue[string(e.Kv.Value)], e)
		}
	}
	for key, events := range t.history {
		t.keys = append(t.keys, key)
		slices.SortFunc(events, func(a, b *clientv3.Event) int { return cmp.Compare(a.Kv.ModRevision, b.Kv.ModRevision) })
	}
	slices.Sort(t.keys)
	return t, v.found
}

// before is the event of a key that was the last one before a revision; nil if there was none.
func (t *timeline) before(key string, revision int64) *clientv3.Event {
	events := t.history[key]
	i := sort.Search(len(events), func(i int) bool { return events[i].Kv.ModRevision >= revision })
	if i == 0 {
		return nil
	}
	return events[i-1]
}

// at is what a key held at a revision; nil if it was not there.
func (t *timeline) at(key string, revision int64) *mvccpb.KeyValue {
	e := t.before(key, revision+1)
	if e == nil || e.Type == mvccpb.Event_DELETE {
		return nil
	}
	return e.Kv
}

// within are the keys that ever were in a range; end is empty for a single key.
func (t *timeline) within(key, end string) []string {
	from, _ := slices.BinarySearch(t.keys, key)
	if end == "" {
		if from < len(t.keys) && t.keys[from] == key {
			return t.keys[from : from+1]
		}
		return nil
	}
	to, _ := slices.BinarySearch(t.keys, end)
	return t.keys[from:to]
}
