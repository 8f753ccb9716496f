package etcdv3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
	"github.com/ctlplane/ctlplane/kv"
)

// Hashes tells checksums by which members find out whether they hold the same.
type Hashes interface {
	// HashKV sums up the history to a revision, 0 for all; Hash everything.
	HashKV(ctx context.Context, revision int64) (kv.Hash, error)
	Hash(context.Context) (kv.Hash, error)
}

func (s *maintenanceServer) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	hash, err := s.store.Hash(ctx)
	if err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	return &pb.HashResponse{Header: s.headerAt(hash), Hash: hash.Sum}, nil
}

func (s *maintenanceServer) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	hash, err := s.store.HashKV(ctx, r.Revision)
	if err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	resp := &pb.HashKVResponse{
		Header: s.headerAt(hash), Hash: hash.Sum, CompactRevision: hash.CompactRevision, HashRevision: hash.Revision,
	}
	if resp.CompactRevision == 0 {
		resp.CompactRevision = -1 // etcd's way to say that nothing was compacted
	}
	return resp, nil
}

// headerAt is the header of an answer about the state that was hashed.
func (s *maintenanceServer) headerAt(hash kv.Hash) *pb.ResponseHeader {
	h := s.store.Header()
	h.Revision = hash.Current
	return h
}
