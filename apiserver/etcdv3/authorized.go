package etcdv3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/auth"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/watch"
	"github.com/ctlplane/ctlplane/kv"
)

// authorized is a Backend as clients may use it. Writes are proposed in their caller's name, and permitted or refused where
// they are applied; reads are permitted or refused here. What is not a matter of single keys passes: the rules of package
// auth have it.
//
// All services are given this one in place of the member itself. A test holds that each method of Backend is either
// overridden here, or named as one that needs no check.
type authorized struct {
	Backend
	authorizer *auth.Authorizer
}

func newAuthorized(member Backend, o Options) *authorized {
	return &authorized{Backend: member, authorizer: auth.New(member, o.auth())}
}

func (b *authorized) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	users := b.Auth()
	if !users.Enabled() {
		if resp, err := b.Backend.Range(ctx, r); err != nil || b.Auth() == users {
			return resp, err
		}
	}
	return auth.Read(ctx, b.authorizer, r.Serializable, func(users *kv.AuthState, c *kv.Caller) error {
		return users.CheckRead(c, r.Key, r.RangeEnd)
	}, func() (*pb.RangeResponse, error) { return b.Backend.Range(ctx, r) })
}

func (b *authorized) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	return auth.Propose[*pb.PutResponse](ctx, b.authorizer, kv.Command{Put: r})
}

func (b *authorized) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	return auth.Propose[*pb.DeleteRangeResponse](ctx, b.authorizer, kv.Command{DeleteRange: r})
}

func (b *authorized) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if !kv.IsReadOnly(r) {
		return auth.Propose[*pb.TxnResponse](ctx, b.authorizer, kv.Command{Txn: r})
	}
	users := b.Auth()
	if !users.Enabled() {
		if resp, err := b.Backend.Txn(ctx, r); err != nil || b.Auth() == users {
			return resp, err
		}
	}
	return auth.Read(ctx, b.authorizer, false, func(users *kv.AuthState, c *kv.Caller) error {
		return users.CheckTxn(c, r, b.VisitLeaseKeys)
	}, func() (*pb.TxnResponse, error) { return b.Backend.Txn(ctx, r) })
}

func (b *authorized) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	return auth.Propose[*pb.LeaseGrantResponse](ctx, b.authorizer, kv.Command{LeaseGrant: r})
}

func (b *authorized) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	return auth.Propose[*pb.LeaseRevokeResponse](ctx, b.authorizer, kv.Command{LeaseRevoke: r})
}

// LeaseKeepAlive is for who may write all keys of the lease.
func (b *authorized) LeaseKeepAlive(ctx context.Context, id int64) (int64, error) {
	if b.Auth().Enabled() {
		if _, err := b.authorizer.CheckLatest(ctx, func(users *kv.AuthState, c *kv.Caller) error {
			return users.CheckLeaseWrite(c, id, b.VisitLeaseKeys)
		}); err != nil {
			return 0, err
		}
	}
	return b.Backend.LeaseKeepAlive(ctx, id)
}

// LeaseTimeToLive is for every user, the lease's keys for who may read them all.
func (b *authorized) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	return auth.Read(ctx, b.authorizer, false, func(users *kv.AuthState, c *kv.Caller) error {
		if !r.Keys {
			return users.CheckUser(c)
		}
		return users.CheckLeaseRead(c, r.ID, b.VisitLeaseKeys)
	}, func() (*pb.LeaseTimeToLiveResponse, error) {
		resp, err := b.Backend.LeaseTimeToLive(ctx, r)
		if err != nil || !r.Keys {
			return resp, err
		}
		return resp, b.readable(ctx, resp.Keys) // some may have been attached meanwhile
	})
}

func (b *authorized) readable(ctx context.Context, keys [][]byte) error {
	_, err := b.authorizer.Check(ctx, func(users *kv.AuthState, c *kv.Caller) error {
		for _, key := range keys {
			if err := users.CheckRead(c, key, nil); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// LeaseLeases is for who may read the keys of all leases, as in etcd.
func (b *authorized) LeaseLeases(ctx context.Context) (*pb.LeaseLeasesResponse, error) {
	return auth.Read(ctx, b.authorizer, false, (*kv.AuthState).CheckUser, func() (*pb.LeaseLeasesResponse, error) {
		leases, err := b.Backend.LeaseLeases(ctx)
		if err != nil {
			return nil, err
		}
		_, err = b.authorizer.Check(ctx, func(users *kv.AuthState, c *kv.Caller) error {
			for _, lease := range leases.Leases {
				if err := users.CheckLeaseRead(c, lease.ID, b.VisitLeaseKeys); err != nil {
					return err
				}
			}
			return nil
		})
		return leases, err
	})
}

// Propose takes a command for the caller of ctx, whatever caller it has.
func (b *authorized) Propose(ctx context.Context, c kv.Command) (kv.Result, error) {
	caller, err := b.authorizer.Caller(ctx)
	if err != nil {
		return kv.Result{Err: err}, nil
	}
	c.Caller = caller
	return b.Backend.Propose(ctx, c)
}

// ProposeAsync is Propose without waiting.
func (b *authorized) ProposeAsync(ctx context.Context, c kv.Command, done func(kv.Result, error)) {
	caller, err := b.authorizer.Caller(ctx)
	if err != nil {
		done(kv.Result{Err: err}, nil)
		return
	}
	c.Caller = caller
	b.Backend.ProposeAsync(ctx, c, done)
}

// permitWatch tells whether the caller may watch a range.
func (b *authorized) permitWatch(ctx context.Context, key, rangeEnd []byte) (watch.Permission, error) {
	return b.authorizer.PermitWatch(ctx, key, rangeEnd)
}
