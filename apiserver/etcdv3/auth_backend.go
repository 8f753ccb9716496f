package etcdv3

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv"
)

// authorized is a Backend as clients may use it. Writes are proposed in their caller's name, and permitted or refused where
// they are applied; reads are permitted or refused here. What is not a matter of single keys passes: authRules has it.
//
// All services are given this one in place of the member itself. A test holds that each method of Backend is either
// overridden here, or named as one that needs no check.
type authorized struct {
	Backend
	gate *gate
}

func newAuthorized(member Backend, o Options) *authorized {
	made, err := newTokens(o.AuthToken, o.AuthTokenTTL, member, o.Clock)
	if err != nil {
		panic(err) // see Options.Validate
	}
	return &authorized{Backend: member, gate: &gate{
		store: member, tokens: made, log: o.Logger, commonNames: o.ClientCertAuth, adminCertificates: o.AdminCertificates,
	}}
}

// propose has a command applied for the caller of ctx.
func propose[R proto.Message](ctx context.Context, b *authorized, c kv.Command) (R, error) {
	var none R
	for again := false; ; again = true {
		caller, err := b.gate.caller(ctx)
		if err == nil {
			c.Caller = caller
			var result kv.Result
			if result, err = b.Backend.Propose(ctx, c); err == nil {
				err = result.Err
			}
			if err == nil {
				return result.Response.(R), nil
			}
		}
		// It was refused, so it may be proposed again: as soon as this member knows what it was refused by.
		if again || !stale(err) && !errors.Is(err, kv.ErrInvalidAuthToken) || b.LinearizableRead(ctx) != nil {
			return none, err
		}
	}
}

func (b *authorized) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	auth := b.Auth()
	if !auth.Enabled() {
		if resp, err := b.Backend.Range(ctx, r); err != nil || b.Auth() == auth {
			return resp, err
		}
	}
	return guarded(ctx, b.gate, r.Serializable, func(auth *kv.AuthState, c *kv.Caller) error {
		return auth.CheckRead(c, r.Key, r.RangeEnd)
	}, func() (*pb.RangeResponse, error) { return b.Backend.Range(ctx, r) })
}

func (b *authorized) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	return propose[*pb.PutResponse](ctx, b, kv.Command{Put: r})
}

func (b *authorized) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	return propose[*pb.DeleteRangeResponse](ctx, b, kv.Command{DeleteRange: r})
}

func (b *authorized) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if !kv.IsReadOnly(r) {
		return propose[*pb.TxnResponse](ctx, b, kv.Command{Txn: r})
	}
	auth := b.Auth()
	if !auth.Enabled() {
		if resp, err := b.Backend.Txn(ctx, r); err != nil || b.Auth() == auth {
			return resp, err
		}
	}
	return guarded(ctx, b.gate, false, func(auth *kv.AuthState, c *kv.Caller) error {
		return auth.CheckTxn(c, r, b.VisitLeaseKeys)
	}, func() (*pb.TxnResponse, error) { return b.Backend.Txn(ctx, r) })
}

func (b *authorized) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	return propose[*pb.LeaseGrantResponse](ctx, b, kv.Command{LeaseGrant: r})
}

func (b *authorized) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	return propose[*pb.LeaseRevokeResponse](ctx, b, kv.Command{LeaseRevoke: r})
}

// LeaseKeepAlive is for who may write all keys of the lease.
func (b *authorized) LeaseKeepAlive(ctx context.Context, id int64) (int64, error) {
	if b.Auth().Enabled() {
		if _, err := b.gate.askLatest(ctx, func(auth *kv.AuthState, c *kv.Caller) error {
			return auth.CheckLeaseWrite(c, id, b.VisitLeaseKeys)
		}); err != nil {
			return 0, err
		}
	}
	return b.Backend.LeaseKeepAlive(ctx, id)
}

// LeaseTimeToLive is for every user, the lease's keys for who may read them all.
func (b *authorized) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	return guarded(ctx, b.gate, false, func(auth *kv.AuthState, c *kv.Caller) error {
		if !r.Keys {
			return auth.CheckUser(c)
		}
		return auth.CheckLeaseRead(c, r.ID, b.VisitLeaseKeys)
	}, func() (*pb.LeaseTimeToLiveResponse, error) {
		resp, err := b.Backend.LeaseTimeToLive(ctx, r)
		if err != nil || !r.Keys {
			return resp, err
		}
		return resp, b.readable(ctx, resp.Keys) // some may have been attached meanwhile
	})
}

func (b *authorized) readable(ctx context.Context, keys [][]byte) error {
	_, err := b.gate.ask(ctx, func(auth *kv.AuthState, c *kv.Caller) error {
		for _, key := range keys {
			if err := auth.CheckRead(c, key, nil); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// LeaseLeases is for who may read the keys of all leases, as in etcd.
func (b *authorized) LeaseLeases(ctx context.Context) (*pb.LeaseLeasesResponse, error) {
	return guarded(ctx, b.gate, false, (*kv.AuthState).CheckUser, func() (*pb.LeaseLeasesResponse, error) {
		leases, err := b.Backend.LeaseLeases(ctx)
		if err != nil {
			return nil, err
		}
		_, err = b.gate.ask(ctx, func(auth *kv.AuthState, c *kv.Caller) error {
			for _, lease := range leases.Leases {
				if err := auth.CheckLeaseRead(c, lease.ID, b.VisitLeaseKeys); err != nil {
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
	caller, err := b.gate.caller(ctx)
	if err != nil {
		return kv.Result{Err: err}, nil
	}
	c.Caller = caller
	return b.Backend.Propose(ctx, c)
}

// ProposeAsync is Propose without waiting.
func (b *authorized) ProposeAsync(ctx context.Context, c kv.Command, done func(kv.Result, error)) {
	caller, err := b.gate.caller(ctx)
	if err != nil {
		done(kv.Result{Err: err}, nil)
		return
	}
	c.Caller = caller
	b.Backend.ProposeAsync(ctx, c, done)
}
