package raftstore

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestSerializableTxnNeedsNobody: what asks for no more than what a member has is answered by a member that is alone.
func TestSerializableTxnNeedsNobody(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	left := c.leader()
	left.put("key", "value")
	for _, m := range c.members {
		if m != left {
			m.stop()
		}
	}
	read := func(serializable bool) *pb.RequestOp {
		r := &pb.RangeRequest{Key: []byte("key"), Serializable: serializable}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	}
	r, err := left.Txn(testContext(t), &pb.TxnRequest{Success: []*pb.RequestOp{read(true)}, Failure: []*pb.RequestOp{read(true)}})
	if err != nil || r.Responses[0].GetResponseRange().Count != 1 {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := left.Txn(testContext(t), &pb.TxnRequest{Success: []*pb.RequestOp{read(true)}, Failure: []*pb.RequestOp{read(false)}}); err == nil {
		t.Errorf("one that asks for more: %v", r)
	}
}
