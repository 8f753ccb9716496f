package robustness

import (
	"cmp"
	"slices"
	"sort"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func sortByRevision(events []*clientv3.Event) {
	slices.SortFunc(events, func(a, b *clientv3.Event) int { return cmp.Compare(a.Kv.ModRevision, b.Kv.ModRevision) })
}

// before is the event of e's key that was right before e; nil if nobody saw one.
func (r *recording) before(e *clientv3.Event) *clientv3.Event {
	events := r.history[string(e.Kv.Key)]
	i := sort.Search(len(events), func(i int) bool { return events[i].Kv.ModRevision >= e.Kv.ModRevision })
	if i == 0 {
		return nil
	}
	return events[i-1]
}

// count is how many events of a revision a watch wants.
func (r *recording) count(w *watch, revision int64) (n int) {
	for _, e := range r.revisions[revision] {
		if w.wants(e) {
			n++
		}
	}
	return n
}
