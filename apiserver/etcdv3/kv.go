package etcdv3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
)

// kvServer is etcd's KV service.
type kvServer struct {
	pb.UnimplementedKVServer
	store KV
	// What a client may ask for at most.
	maxBytes, maxTxnOps int
}

func (s *kvServer) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	return answer(s.store.Range(ctx, r))
}

func (s *kvServer) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := checkSize(len(r.Key)+len(r.Value), s.maxBytes); err != nil {
		return nil, err
	}
	return answer(s.store.Put(ctx, r))
}

func (s *kvServer) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := checkSize(len(r.Key)+len(r.RangeEnd), s.maxBytes); err != nil {
		return nil, err
	}
	return answer(s.store.DeleteRange(ctx, r))
}

func (s *kvServer) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := checkTxn(r, s.maxBytes, s.maxTxnOps); err != nil {
		return nil, err
	}
	return answer(s.store.Txn(ctx, r))
}

func (s *kvServer) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	return answer(s.store.Compact(ctx, r))
}

// answer gives a response of the store, or its error as a client understands it.
func answer[T any](resp *T, err error) (*T, error) {
	if err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	return resp, nil
}
