package registry

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore"
)

// Storage is the versioned key-value store under the registry, shaped as the etcd API. A Raft member
// is one; so is anything else that keeps these promises.
//
//  1. Range is linearizable unless the request says Serializable; its header tells the store's revision.
//  2. Txn is atomic, and all its writes bear one revision.
//  3. A watch stream delivers every change once, in order of revision, or says that it was compacted.
//
// All methods are safe for concurrent use. Errors are kv's codes, contexts' or raftstore's.
type Storage interface {
	Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error)
	Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error)
	LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error)
	NewWatchStream() *kv.WatchStream
}

var _ Storage = (*raftstore.Member)(nil)

const (
	// objectPrefix starts the key of every object.
	objectPrefix = "/registry/"
	// objectPrefixEnd is the first key after all objects.
	objectPrefixEnd = "/registry0"
	// claimPrefix starts the key of every claim on a value that must be unique in the cluster.
	claimPrefix = "/claims/"
)

// prefixEnd is the first key after all keys that start with prefix.
func prefixEnd(prefix string) []byte {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}

// currentRevision asks the store for its revision, linearizably: every write that was acknowledged
// before the call is at or below it.
func currentRevision(ctx context.Context, s Storage) (int64, error) {
	resp, err := s.Range(ctx, &pb.RangeRequest{Key: []byte(objectPrefix), CountOnly: true})
	if err != nil {
		return 0, readError(err)
	}
	return resp.GetHeader().GetRevision(), nil
}
