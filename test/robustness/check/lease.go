package check

import (
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/ctlplane/ctlplane/test/robustness/traffic"
)

// leases: a lease lives as long as any answer has promised, unless it was revoked; and what had it is gone in the end.
//
// A promise counts from a moment after its request was made, and its end is seen after it came. So a lease whose end was seen
// before its time has passed since the request has ended early, whenever each of them came to the store.
//
// A store that renews unproven is held to the promises of its grants alone.
func leases(h *traffic.History, t *timeline, unproven bool) []Violation {
	v := violations{check: "leases"}
	for _, l := range h.Leases {
		promises := l.Promises
		if unproven {
			promises = slices.DeleteFunc(slices.Clone(promises), func(p traffic.Promise) bool { return p.Renewal })
		}
		events := t.history[l.Key]
		if len(events) == 0 {
			continue
		}
		end := events[len(events)-1]
		if end.Type != mvccpb.Event_DELETE {
			v.add(nil, "lease %x has not ended: %s is still there", l.ID, l.Key)
			continue
		}
		seen := t.seenAt[change{end.Kv.ModRevision, l.Key}]
		if l.Revoking > 0 && l.Revoking < seen {
			for _, p := range promises {
				if l.Revoked > 0 && p.Call > l.Revoked {
					v.add(nil, "lease %x was renewed at %v, after it had been revoked at %v", l.ID, p.Call, l.Revoked)
				}
			}
			continue
		}
		for _, p := range promises {
			if seen < p.Call+p.TTL {
				v.add(nil, "lease %x ended early: m%d, asked at %.3f s, answered at %.3f s that it has %v; its end was seen at %.3f s, revision %d",
					l.ID, p.Member+1, p.Call.Seconds(), p.Return.Seconds(), p.TTL, seen.Seconds(), end.Kv.ModRevision)
				break
			}
		}
	}
	return v.found
}
