package registry

import (
	"context"
	"errors"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/ctlplane/ctlplane/kv"
)

// mutation is one object's write and all that it depends on. It happens as a whole or not at all.
type mutation struct {
	kind     *kind
	key      string
	value    []byte // nil: the object is deleted
	revision int64  // of the version that is replaced; 0: there must be none
	guards   []guard
	claims   []claim // that must be free, and are taken
	releases []claim // that are given back
}

// guard is another object's version that a write depends on.
type guard struct {
	key      []byte
	revision int64
}

// refusal tells why a mutation did not happen.
type refusal struct {
	current *mvccpb.KeyValue // what is stored under the object's key; nil: nothing
	moved   bool             // the object is not at the expected revision
	guard   bool             // a guard's object has changed
	taken   []claim          // claims that another object holds
}

// commit tries a mutation. It answers the revision of the write, or why it was refused.
func (r *Registry) commit(ctx context.Context, m *mutation) (int64, *refusal, error) {
	submit := r.commitPlain
	if m.kind.expires && m.value != nil {
		submit = r.commitLeased
	}
	resp, err := submit(ctx, m)
	if err != nil {
		return 0, nil, writeError(err)
	}
	if resp.Succeeded {
		return resp.GetHeader().GetRevision(), nil, nil
	}
	return 0, m.refusal(resp.Responses), nil
}

func (r *Registry) commitPlain(ctx context.Context, m *mutation) (*pb.TxnResponse, error) {
	return r.storage.Txn(ctx, m.txn(0))
}

// commitLeased tries a mutation of an object that expires. A lease that has gone is replaced once.
func (r *Registry) commitLeased(ctx context.Context, m *mutation) (*pb.TxnResponse, error) {
	for retried := false; ; retried = true {
		lease, err := r.expiry.current(ctx)
		if err != nil {
			return nil, err
		}
		resp, err := r.storage.Txn(ctx, m.txn(lease))
		if retried || !errors.Is(err, kv.ErrLeaseNotFound) {
			return resp, err
		}
		r.expiry.lost(lease)
	}
}

func (m *mutation) txn(lease int64) *pb.TxnRequest {
	key := m.kind.storeKey(m.key)
	txn := &pb.TxnRequest{
		Compare: []*pb.Compare{atRevision(key, m.revision)},
		Failure: []*pb.RequestOp{getOp(key)},
	}
	for _, g := range m.guards {
		txn.Compare = append(txn.Compare, atRevision(g.key, g.revision))
		txn.Failure = append(txn.Failure, getOp(g.key))
	}
	for _, c := range m.claims {
		txn.Compare = append(txn.Compare, atRevision(c.key(), 0))
		txn.Failure = append(txn.Failure, getOp(c.key()))
		txn.Success = append(txn.Success, putOp(c.key(), key))
	}
	for _, c := range m.releases {
		txn.Success = append(txn.Success, deleteOp(c.key()))
	}
	if m.value == nil {
		txn.Success = append(txn.Success, deleteOp(key))
	} else {
		put := putOp(key, m.value)
		put.GetRequestPut().Lease = lease
		txn.Success = append(txn.Success, put)
	}
	return txn
}

// refusal reads the answers of the transaction's failure branch: the object, the guards, the claims.
func (m *mutation) refusal(answers []*pb.ResponseOp) *refusal {
	found := make([]*mvccpb.KeyValue, len(answers))
	for i, answer := range answers {
		if kvs := answer.GetResponseRange().GetKvs(); len(kvs) > 0 {
			found[i] = kvs[0]
		}
	}
	f := &refusal{current: found[0]}
	f.moved = found[0].GetModRevision() != m.revision
	for i, g := range m.guards {
		f.guard = f.guard || found[1+i].GetModRevision() != g.revision
	}
	for i, c := range m.claims {
		if found[1+len(m.guards)+i] != nil {
			f.taken = append(f.taken, c)
		}
	}
	return f
}

func atRevision(key []byte, revision int64) *pb.Compare {
	return &pb.Compare{
		Key: key, Result: pb.Compare_EQUAL, Target: pb.Compare_MOD,
		TargetUnion: &pb.Compare_ModRevision{ModRevision: revision},
	}
}

func getOp(key []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}
}

func putOp(key, value []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value}}}
}

func deleteOp(key []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}
}

// claim is a value that only one object of the cluster may have, such as a service's address. It is a
// key of its own, written and deleted together with its object.
type claim struct {
	domain string // what the value is, such as "clusterips"
	value  string
}

func (c claim) key() []byte { return []byte(claimPrefix + c.domain + "/" + c.value) }

// claimsOf lists what an object holds.
func (k *kind) claimsOf(obj Object) []claim {
	if k.claims == nil || obj == nil {
		return nil
	}
	return k.claims(obj)
}

// without lists the claims of a that are not in b.
func without(a, b []claim) []claim {
	var rest []claim
	for _, c := range a {
		if !slices.Contains(b, c) {
			rest = append(rest, c)
		}
	}
	return rest
}
