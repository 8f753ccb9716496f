package check

import (
	"bytes"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/ctlplane/ctlplane/test/robustness/traffic"
)

// state: a range holds exactly what was there at its revision, the one asked for or that of its header.
func state(h *traffic.History, t *timeline) []Violation {
	v := violations{check: "a range is the state at its revision"}
	for _, o := range h.Ops {
		if o.Outcome() != traffic.Done {
			continue
		}
		switch r := o.Request.(type) {
		case *pb.RangeRequest:
			t.compare(&v, o, r, o.Response.(*pb.RangeResponse), o.Revision())
		case *pb.TxnRequest:
			response := o.Response.(*pb.TxnResponse)
			if response.Succeeded {
				continue // writes alone
			}
			for i, op := range r.Failure {
				t.compare(&v, o, op.GetRequestRange(), response.Responses[i].GetResponseRange(), o.Revision())
			}
		}
	}
	return v.found
}

func (t *timeline) compare(v *violations, o *traffic.Op, r *pb.RangeRequest, got *pb.RangeResponse, revision int64) {
	if r.Revision > 0 {
		revision = r.Revision
	}
	if revision > t.last {
		return
	}
	var want []*mvccpb.KeyValue
	for _, key := range t.within(string(r.Key), string(r.RangeEnd)) {
		if kv := t.at(key, revision); kv != nil {
			want = append(want, kv)
		}
	}
	if difference := differ(got.Kvs, want); difference != "" {
		v.add([]*traffic.Op{o}, "at revision %d: %s", revision, difference)
	}
}

// differ says how what was got differs from what was to be got; empty: not at all.
func differ(got, want []*mvccpb.KeyValue) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(want) || i < len(got) && bytes.Compare(got[i].Key, want[i].Key) < 0:
			return fmt.Sprintf("{%v} is there, and should not be", got[i])
		case i >= len(got) || bytes.Compare(got[i].Key, want[i].Key) > 0:
			return fmt.Sprintf("{%v} is missing", want[i])
		case !same(got[i], want[i]):
			return fmt.Sprintf("got {%v}, want {%v}", got[i], want[i])
		}
	}
	return ""
}

func same(a, b *mvccpb.KeyValue) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.ModRevision == b.ModRevision &&
		a.CreateRevision == b.CreateRevision && a.Version == b.Version && a.Lease == b.Lease
}

// writes: what was acknowledged has happened, once and at the revision that the answer said; what was refused has not.
func writes(h *traffic.History, t *timeline) []Violation {
	v := violations{check: "acknowledged writes are there, once, and refused ones aren't"}
	for _, o := range h.Ops {
		puts := putsOf(o)
		for _, p := range puts {
			events := t.byValue[string(p.Value)]
			switch outcome := o.Outcome(); {
			case outcome == traffic.Refused && len(events) > 0:
				v.add([]*traffic.Op{o}, "a write that was refused is there: %v", events[0])
			case len(events) > 1:
				v.add([]*traffic.Op{o}, "one write is there twice: %v and %v", events[0], events[1])
			case outcome == traffic.Done && o.Revision() > t.last:
			case outcome == traffic.Done && len(events) == 0:
				v.add([]*traffic.Op{o}, "no watch saw the acknowledged write of %s at revision %d", p.Key, o.Revision())
			case outcome == traffic.Done && events[0].Kv.ModRevision != o.Revision():
				v.add([]*traffic.Op{o}, "acknowledged at revision %d, seen as %v", o.Revision(), events[0])
			}
		}
	}
	return v.found
}

// putsOf are the puts of an operation that were made, or may have been.
func putsOf(o *traffic.Op) (puts []*pb.PutRequest) {
	switch r := o.Request.(type) {
	case *pb.PutRequest:
		return []*pb.PutRequest{r}
	case *pb.TxnRequest:
		if response, ok := o.Response.(*pb.TxnResponse); ok && o.Err == nil && !response.Succeeded {
			return nil
		}
		for _, op := range r.Success {
			if p := op.GetRequestPut(); p != nil {
				puts = append(puts, p)
			}
		}
	}
	return puts
}

// compactions: what was compacted can't be read any more, by nobody who asks a quorum.
func compactions(h *traffic.History, _ *timeline) []Violation {
	v := violations{check: "what was compacted is gone"}
	for _, compaction := range h.Ops {
		r, ok := compaction.Request.(*pb.CompactionRequest)
		if !ok || compaction.Outcome() != traffic.Done {
			continue
		}
		for _, o := range h.Ops {
			read, ok := o.Request.(*pb.RangeRequest)
			if ok && !read.Serializable && read.Revision > 0 && read.Revision < r.Revision && o.Outcome() == traffic.Done && o.Call > compaction.Return {
				v.add([]*traffic.Op{compaction, o}, "revision %d was read after the compaction at %d", read.Revision, r.Revision)
			}
		}
	}
	return v.found
}
