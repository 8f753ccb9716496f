package differential

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// edges are requests about limits, and about things that are not there, in an order: they begin with an empty store.
var edges = []proto.Message{
	// Nothing was compacted yet. (etcd then takes a compaction to revision 0 for one that does something.)
	&pb.HashKVRequest{},
	&pb.HashKVRequest{Revision: 2},
	&pb.RangeRequest{Key: []byte("k"), Revision: -2},
	txnOf(rangeAt(-1)),
	txnOf(rangeAt(-2)),
	&pb.CompactionRequest{Revision: -1},
	&pb.CompactionRequest{Revision: 2},
	&pb.PutRequest{Key: []byte("k"), Value: []byte("v")},
	&pb.CompactionRequest{Revision: 1},
	&pb.CompactionRequest{Revision: 2},
	&pb.CompactionRequest{Revision: 2},
	txnOf(rangeAt(-1)),
	txnOf(rangeAt(1)),
	&pb.RangeRequest{Key: []byte("k"), Revision: 1},
	&pb.RangeRequest{Key: []byte("k"), Revision: -1},

	// Leases.
	&pb.LeaseGrantRequest{ID: 7, TTL: 0},
	&pb.LeaseRevokeRequest{ID: 7},
	&pb.LeaseGrantRequest{ID: 8, TTL: -5},
	&pb.LeaseRevokeRequest{ID: 8},
	&pb.LeaseRevokeRequest{},
	&pb.LeaseTimeToLiveRequest{},
	&pb.LeaseGrantRequest{ID: 9, TTL: 1 << 62},
	&pb.LeaseKeepAliveRequest{ID: 1 << 40},

	// Sizes.
	&pb.PutRequest{Key: []byte("large"), Value: make([]byte, 1<<20)},
	&pb.PutRequest{Key: []byte("large"), Value: make([]byte, 3<<19)},
	&pb.PutRequest{Key: make([]byte, 3<<19)},
	&pb.PutRequest{Key: []byte("large"), Value: make([]byte, 3<<20)},
	&pb.DeleteRangeRequest{Key: bytes.Repeat([]byte("k"), 3<<19)},
	&pb.RangeRequest{Key: bytes.Repeat([]byte("k"), 1<<20)},
	manyOps(128),
	manyOps(129),
	nestedOps(2, 63),
	nestedOps(2, 65),
	nestedOps(127, 1),
	nestedOps(128, 1),
	&pb.TxnRequest{},
	&pb.TxnRequest{Compare: []*pb.Compare{{}}},
	&pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("k"), Target: 9, Result: 9}}},
	txnOf(&pb.RequestOp{}),

	// A delete without an end, which etcd's check for overlaps takes for one of a single key.
	txnOf(deleteFrom("b"), putOf("c")),
	txnOf(putOf("c"), deleteFrom("b")),
	txnOf(deleteFrom("b"), putOf("b")),
	txnOf(deleteFrom("b"), putOf("a"), putOf("c")),
	&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}},

	// Members.
	&pb.MemberAddRequest{},
	&pb.MemberAddRequest{PeerURLs: []string{"127.0.0.1:1"}},
	&pb.MemberAddRequest{PeerURLs: []string{"ftp://127.0.0.1:1"}},
	&pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1/path"}},
	&pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1"}},
	&pb.MemberRemoveRequest{},
	&pb.MemberRemoveRequest{ID: 99},
	&pb.MemberUpdateRequest{ID: 99, PeerURLs: []string{"http://127.0.0.1:1"}},
	&pb.MemberPromoteRequest{ID: 99},
	&pb.MoveLeaderRequest{TargetID: 99},

	// Downgrades.
	&pb.DowngradeRequest{Action: pb.DowngradeRequest_VALIDATE},
	&pb.DowngradeRequest{Action: pb.DowngradeRequest_VALIDATE, Version: "x"},
	&pb.DowngradeRequest{Action: pb.DowngradeRequest_VALIDATE, Version: "3.7.0"},
	&pb.DowngradeRequest{Action: pb.DowngradeRequest_VALIDATE, Version: "3.5.0"},
	&pb.DowngradeRequest{Action: pb.DowngradeRequest_VALIDATE, Version: "3.6"},
	&pb.DowngradeRequest{Action: pb.DowngradeRequest_CANCEL},
	&pb.DowngradeRequest{Action: pb.DowngradeRequest_ENABLE, Version: "3.7.0"},
	&pb.DowngradeRequest{Action: 9},
}

func txnOf(ops ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: ops} }

func rangeAt(revision int64) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("k"), Revision: revision}}}
}

func putOf(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte("v")}}}
}

func deleteFrom(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte{0}}}}
}

func manyOps(n int) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range n {
		t.Success = append(t.Success, rangeAt(0))
	}
	return t
}

// nestedOps has levels of each so many operations, of which one is the next level.
func nestedOps(levels, each int) *pb.TxnRequest {
	t := manyOps(each)
	for range levels - 1 {
		outer := manyOps(each - 1)
		outer.Success = append(outer.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}})
		t = outer
	}
	return t
}
