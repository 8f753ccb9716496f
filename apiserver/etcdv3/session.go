package etcdv3

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore"
)

// sessionTTL is the time to live, in seconds, of a lease that a lock or a lead gets when its owner brings none.
const sessionTTL = 60

// sessions is what locks and elections are made of, in the way of etcd's client library, whose users take part as well:
// each contender has a key below the prefix of the name, bound to its lease. Whose key is the oldest owns the lock, or
// leads; the others wait for the keys before theirs to go.
type sessions struct{ store Backend }

// contender is a key in line.
type contender struct {
	prefix, key []byte
	lease       int64
	// revision is when the key was created, which is its place in the line.
	revision int64
}

// contend makes a contender's key for a lease; 0 asks for a new one.
func (s sessions) contend(ctx context.Context, name []byte, lease int64) (*contender, error) {
	lease, err := s.lease(ctx, lease)
	if err != nil {
		return nil, err
	}
	prefix := contenderPrefix(name)
	return &contender{prefix: prefix, key: fmt.Appendf(prefix[:len(prefix):len(prefix)], "%x", lease), lease: lease}, nil
}

func (s sessions) lease(ctx context.Context, id int64) (int64, error) {
	if id != 0 {
		return id, nil
	}
	granted, err := s.store.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: sessionTTL})
	if err != nil {
		return 0, err
	}
	return granted.ID, nil
}

func contenderPrefix(name []byte) []byte { return append(append([]byte(nil), name...), '/') }

// enter puts the key with a value, unless it is there; then current is what it holds. Either way it is in line.
func (s sessions) enter(ctx context.Context, c *contender, value []byte) (header *pb.ResponseHeader, current *pb.RangeResponse, err error) {
	resp, err := s.store.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(c.key, 0)},
		Success: []*pb.RequestOp{putOp(&pb.PutRequest{Key: c.key, Value: value, Lease: c.lease})},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: c.key}}}},
	})
	if err != nil {
		return nil, nil, err
	}
	c.revision = resp.Header.Revision
	if !resp.Succeeded {
		current = resp.Responses[0].GetResponseRange()
		c.revision = current.Kvs[0].CreateRevision
	}
	return resp.Header, current, nil
}

// first waits until there is no key before c's.
func (s sessions) first(ctx context.Context, c *contender) error {
	for {
		// The last before it: so that one key's end wakes one contender.
		resp, err := s.store.Range(ctx, &pb.RangeRequest{
			Key: c.prefix, RangeEnd: endOfPrefix(c.prefix), Limit: 1, MaxCreateRevision: c.revision - 1,
			SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_DESCEND, KeysOnly: true,
		})
		if err != nil || len(resp.Kvs) == 0 {
			return err
		}
		if err := s.deleted(ctx, resp.Kvs[0].Key, resp.Header.Revision); err != nil {
			return err
		}
	}
}

// deleted returns when a key that was there at a revision has been deleted, or may have been.
func (s sessions) deleted(ctx context.Context, key []byte, revision int64) error {
	return s.watch(ctx, kv.WatchRequest{Key: key, StartRevision: revision, NoPut: true}, func(e kv.WatchEvents) (bool, error) {
		return len(e.Events) == 0, nil
	})
}

// watch gives events to take until that returns false, or until the watch is over without a reason that lies in the
// caller: who watches has to look again then.
func (s sessions) watch(ctx context.Context, r kv.WatchRequest, take func(kv.WatchEvents) (more bool, err error)) error {
	stream := s.store.NewWatchStream()
	defer stream.Close()
	_, err := stream.Watch(r)
	for err == nil {
		var e kv.WatchEvents
		if e, err = stream.Next(ctx); err != nil {
			break
		}
		if e.CompactRevision != 0 {
			return nil
		}
		more, err := take(e)
		if err != nil || !more {
			return err
		}
	}
	if errors.Is(err, kv.ErrClosed) { // another state takes the place of this one, or a request tells that none does
		return nil
	}
	return err
}

// leave takes the contender out of the line because of err, also when the call that it came with has ended. It returns err, or
// that nobody knows the outcome where the contender may still be in line: until its lease ends its turn may come.
func (s sessions) leave(ctx context.Context, c *contender, err error) error {
	_, left := s.store.Txn(context.WithoutCancel(ctx), &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(c.key, c.revision)},
		Success: []*pb.RequestOp{deleteOp(c.key)},
	})
	if left != nil {
		return fmt.Errorf("%w (%v)", raftstore.ErrOutcomeUnknown, err)
	}
	return err
}

// oldest returns the key that was created first below a prefix.
func (s sessions) oldest(ctx context.Context, prefix []byte) (*pb.RangeResponse, error) {
	return s.store.Range(ctx, &pb.RangeRequest{
		Key: prefix, RangeEnd: endOfPrefix(prefix), Limit: 1,
		SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_ASCEND,
	})
}

func createdAt(key []byte, revision int64) *pb.Compare {
	return &pb.Compare{
		Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_CreateRevision{CreateRevision: revision},
	}
}

func putOp(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func deleteOp(key []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}
}

// endOfPrefix is the end of the range of all keys with a prefix.
func endOfPrefix(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}
