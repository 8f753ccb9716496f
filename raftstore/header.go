package raftstore

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Header is what a response of this member begins with, at its present revision.
func (m *Member) Header() *pb.ResponseHeader {
	return m.fillHeader(&pb.ResponseHeader{Revision: m.Revision()})
}

func (m *Member) fillHeader(h *pb.ResponseHeader) *pb.ResponseHeader {
	h.ClusterId, h.MemberId = m.config.Identity.ClusterID, m.config.Identity.MemberID
	h.RaftTerm = m.raft.CurrentTerm()
	return h
}

// completeHeader adds to a response's header what the state machine does not know: who answers, and the
// term. A response that has no header yet gets one at the present revision.
func (m *Member) completeHeader(response proto.Message) {
	var header **pb.ResponseHeader
	switch r := response.(type) {
	case *pb.PutResponse:
		header = &r.Header
	case *pb.RangeResponse:
		header = &r.Header
	case *pb.DeleteRangeResponse:
		header = &r.Header
	case *pb.TxnResponse:
		header = &r.Header
	case *pb.CompactionResponse:
		header = &r.Header
	case *pb.LeaseGrantResponse:
		header = &r.Header
	case *pb.LeaseCheckpointResponse:
		header = &r.Header
	case *pb.AlarmResponse:
		header = &r.Header
	case *pb.LeaseRevokeResponse:
		header = &r.Header
	case *pb.LeaseTimeToLiveResponse:
		header = &r.Header
	case *pb.LeaseLeasesResponse:
		header = &r.Header
	case *pb.DowngradeResponse:
		header = &r.Header
	case *pb.MemberUpdateResponse:
		header = &r.Header
	default:
		if r, ok := response.(interface{ GetHeader() *pb.ResponseHeader }); ok && r.GetHeader() != nil {
			m.fillHeader(r.GetHeader())
		}
		return
	}
	if *header == nil {
		*header = &pb.ResponseHeader{Revision: m.Revision()}
	}
	m.fillHeader(*header)
}
