package check

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/test/robustness/traffic"
)

// stepOf is what an operation that has an answer did with a key, but for what it was behind; false: nothing that counts.
func stepOf(o *traffic.Op, name string) (step, bool) {
	switch r := o.Request.(type) {
	case *pb.RangeRequest:
		if r.Serializable || r.Revision != 0 {
			return step{}, false
		}
		return readStep(r, o.Response.(*pb.RangeResponse), name)
	case *pb.PutRequest:
		return step{after: &content{o.Revision(), true, string(r.Value)}}, string(r.Key) == name
	case *pb.DeleteRangeRequest:
		return deleteStep(o, o.Response.(*pb.DeleteRangeResponse)), string(r.Key) == name
	case *pb.TxnRequest:
		return txnStep(o, r, o.Response.(*pb.TxnResponse), name)
	}
	return step{}, false
}

func readStep(r *pb.RangeRequest, got *pb.RangeResponse, name string) (step, bool) {
	if string(r.Key) != name && (len(r.RangeEnd) == 0 || name < string(r.Key) || name >= string(r.RangeEnd)) {
		return step{}, false
	}
	for _, kv := range got.Kvs {
		if string(kv.Key) == name {
			return step{saw: &content{kv.ModRevision, true, string(kv.Value)}}, true
		}
	}
	return step{saw: &content{}}, true
}

func deleteStep(o *traffic.Op, got *pb.DeleteRangeResponse) step {
	if got.Deleted == 0 {
		return step{saw: &content{}}
	}
	s := step{after: &content{revision: o.Revision()}}
	for _, kv := range got.PrevKvs {
		s.saw = &content{kv.ModRevision, true, string(kv.Value)}
	}
	return s
}

func txnStep(o *traffic.Op, r *pb.TxnRequest, got *pb.TxnResponse, name string) (s step, touched bool) {
	operations := r.Success
	if !got.Succeeded {
		operations = r.Failure
	}
	for i, op := range operations {
		if p := op.GetRequestPut(); p != nil && string(p.Key) == name {
			s, touched = step{after: &content{o.Revision(), true, string(p.Value)}}, true
		}
		if d := op.GetRequestDeleteRange(); d != nil && string(d.Key) == name {
			s, touched = deleteStep(o, got.Responses[i].GetResponseDeleteRange()), true
		}
		if read := op.GetRequestRange(); read != nil {
			if seen, ok := readStep(read, got.Responses[i].GetResponseRange(), name); ok {
				s, touched = seen, true
			}
		}
	}
	for _, c := range r.Compare {
		if string(c.Key) == name {
			revision := c.GetModRevision()
			s.guard, s.equal, touched = &revision, got.Succeeded, true
		}
	}
	return s, touched
}

// cause is the first operation of unknown outcome that may have made an event.
func cause(unknown []*traffic.Op, e *clientv3.Event) *traffic.Op {
	for _, o := range unknown {
		if e.Type == mvccpb.Event_DELETE {
			if deletes(o, string(e.Kv.Key)) {
				return o
			}
			continue
		}
		for _, p := range putsOf(o) {
			if string(p.Value) == string(e.Kv.Value) {
				return o
			}
		}
	}
	return nil
}

func deletes(o *traffic.Op, name string) bool {
	switch r := o.Request.(type) {
	case *pb.DeleteRangeRequest:
		return string(r.Key) == name
	case *pb.TxnRequest:
		for _, op := range r.Success {
			if d := op.GetRequestDeleteRange(); d != nil && string(d.Key) == name {
				return true
			}
		}
	}
	return false
}

func writesTo(o *traffic.Op, name string) bool {
	for _, p := range putsOf(o) {
		if string(p.Key) == name {
			return true
		}
	}
	return deletes(o, name)
}
