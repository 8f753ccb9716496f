package etcdv3

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/api/v3lockpb"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
)

// errSessionExpired is etcd's answer to who has lost his place in line, because his lease has ended.
var errSessionExpired = errors.New("mutex: session is expired")

// lockServer is etcd's Lock service.
type lockServer struct {
	v3lockpb.UnimplementedLockServer
	sessions
}

// Lock waits for the lock, for as long as the call lasts.
func (s *lockServer) Lock(ctx context.Context, r *v3lockpb.LockRequest) (*v3lockpb.LockResponse, error) {
	return answer(s.lock(ctx, r))
}

func (s *lockServer) lock(ctx context.Context, r *v3lockpb.LockRequest) (*v3lockpb.LockResponse, error) {
	c, err := s.contend(ctx, r.Name, r.Lease)
	if err != nil {
		return nil, err
	}
	if _, _, err := s.enter(ctx, c, nil); err != nil {
		return nil, err
	}
	if err := s.first(ctx, c); err != nil {
		return nil, s.leave(ctx, c, err)
	}
	// The lease may have ended while it waited.
	mine, err := s.store.Range(ctx, &pb.RangeRequest{Key: c.key})
	switch {
	case err != nil:
		return nil, s.leave(ctx, c, err)
	case len(mine.Kvs) == 0 || mine.Kvs[0].CreateRevision != c.revision:
		return nil, errSessionExpired
	}
	return &v3lockpb.LockResponse{Header: mine.Header, Key: c.key}, nil
}

// Unlock deletes the key of a lock, or of one who waits for it.
func (s *lockServer) Unlock(ctx context.Context, r *v3lockpb.UnlockRequest) (*v3lockpb.UnlockResponse, error) {
	resp, err := s.store.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: r.Key})
	if err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	return &v3lockpb.UnlockResponse{Header: resp.Header}, nil
}
