package check

import (
	"cmp"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/test/robustness/traffic"
)

// changed tells whether an operation has made the revision of its answer.
func changed(o *traffic.Op) bool {
	switch r := o.Response.(type) {
	case *pb.PutResponse:
		return true
	case *pb.DeleteRangeResponse:
		return r.Deleted > 0
	case *pb.TxnResponse:
		for _, op := range r.Responses {
			if op.GetResponsePut() != nil || op.GetResponseDeleteRange().GetDeleted() > 0 {
				return true
			}
		}
	}
	return false
}

// atQuorum tells whether an operation has to see everything that was answered before it was made.
func atQuorum(o *traffic.Op) bool {
	switch r := o.Request.(type) {
	case *pb.RangeRequest:
		return !r.Serializable
	case *pb.PutRequest, *pb.DeleteRangeRequest, *pb.TxnRequest:
		return true
	}
	return false
}

// realTime: no linearizable answer is from before what any member has answered when the request was made, and what a request
// changes comes after that.
func realTime(h *traffic.History, _ *timeline) []Violation {
	v := violations{check: "linearizable in real time"}
	var done []*traffic.Op
	for _, o := range h.Ops {
		if o.Outcome() == traffic.Done && o.Revision() > 0 {
			done = append(done, o)
		}
	}
	forward(done, atQuorum, func(earlier, later *traffic.Op) {
		what := "an answer at revision %d, after one at revision %d had come"
		if changed(later) {
			what = "a write at revision %d, after revision %d had been seen"
		}
		v.add([]*traffic.Op{earlier, later}, what, later.Revision(), earlier.Revision())
	})
	return v.found
}

// memberOrder: the revisions that one run of a member answers never go back, in no kind of answer.
func memberOrder(h *traffic.History, _ *timeline) []Violation {
	v := violations{check: "revisions of a member never go back"}
	type run struct{ member, life int64 }
	runs := map[run][]*traffic.Op{}
	for _, o := range h.Ops {
		switch o.Request.(type) {
		case *pb.MemberListRequest, *pb.CompactionRequest:
			continue // members are asked about for other things
		}
		if o.Outcome() == traffic.Done && o.Revision() > 0 && o.Life >= 0 {
			r := run{int64(o.Member), o.Life}
			runs[r] = append(runs[r], o)
		}
	}
	every := func(*traffic.Op) bool { return true }
	for r, ops := range runs {
		forward(ops, every, func(earlier, later *traffic.Op) {
			v.add([]*traffic.Op{earlier, later}, "m%d answered revision %d, and then %d", r.member+1, earlier.Revision(), later.Revision())
		})
	}
	return v.found
}

// forward calls bad for each of the checked operations whose revision is below that of one that had ended when it began.
// Those that make their revision must be above it.
func forward(ops []*traffic.Op, checked func(*traffic.Op) bool, bad func(earlier, later *traffic.Op)) {
	byReturn := slices.SortedFunc(slices.Values(ops), func(a, b *traffic.Op) int { return cmp.Compare(a.Return, b.Return) })
	byCall := slices.SortedFunc(slices.Values(ops), func(a, b *traffic.Op) int { return cmp.Compare(a.Call, b.Call) })
	var newest *traffic.Op
	ended := 0
	for _, o := range byCall {
		for ; ended < len(byReturn) && byReturn[ended].Return < o.Call; ended++ {
			if newest == nil || byReturn[ended].Revision() > newest.Revision() {
				newest = byReturn[ended]
			}
		}
		if newest == nil || !checked(o) {
			continue
		}
		if o.Revision() < newest.Revision() || changed(o) && o.Revision() == newest.Revision() {
			bad(newest, o)
		}
	}
}
