package kv

import (
	"bytes"
	"cmp"
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A transaction is carried out in three passes: which branch each transaction of the tree takes, by what
// was there before it; whether everything in these branches can be done; and only then the doing, in
// which nothing but the disk can fail.

// plan is a transaction of which it is settled which branch it takes, with the plans of the transactions
// nested in that branch, in their order.
type plan struct {
	succeeded bool
	ops       []*pb.RequestOp
	nested    []*plan
}

// txnView is what the compares and ranges of a transaction read from.
type txnView interface {
	existing(r keyRange, values bool) ([]found, error)
	queryRange(r *pb.RangeRequest) (*pb.RangeResponse, error)
	readRevision() int64
}

// planTxn evaluates the compares.
func planTxn(v txnView, t *pb.TxnRequest) (*plan, error) {
	p := &plan{succeeded: true, ops: t.Success}
	for _, c := range t.Compare {
		ok, err := holds(v, c)
		if err != nil {
			return nil, err
		}
		if !ok {
			p.succeeded, p.ops = false, t.Failure
			break
		}
	}
	for _, op := range p.ops {
		nested := op.GetRequestTxn()
		if nested == nil {
			continue
		}
		n, err := planTxn(v, nested)
		if err != nil {
			return nil, err
		}
		p.nested = append(p.nested, n)
	}
	return p, nil
}

// holds tells whether a compare holds for every key of its range. If there is none, its target is compared
// with zero, but a compare of a value never holds then: there is no telling no value from an empty one.
func holds(v txnView, c *pb.Compare) (bool, error) {
	all, err := v.existing(newKeyRange(c.Key, c.RangeEnd), c.Target == pb.Compare_VALUE)
	if err != nil {
		return false, err
	}
	if len(all) == 0 {
		return c.Target != pb.Compare_VALUE && compareOne(c, found{}), nil
	}
	for _, f := range all {
		if !compareOne(c, f) {
			return false, nil
		}
	}
	return true, nil
}

func compareOne(c *pb.Compare, f found) bool {
	var order int
	switch c.Target {
	case pb.Compare_VALUE:
		order = bytes.Compare(f.value, c.GetValue())
	case pb.Compare_VERSION:
		order = cmp.Compare(f.header.Version, c.GetVersion())
	case pb.Compare_CREATE:
		order = cmp.Compare(f.header.Create, c.GetCreateRevision())
	case pb.Compare_MOD:
		order = cmp.Compare(f.header.Mod, c.GetModRevision())
	case pb.Compare_LEASE:
		order = cmp.Compare(f.header.Lease, c.GetLease())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	case pb.Compare_GREATER:
		return order > 0
	case pb.Compare_LESS:
		return order < 0
	}
	return true
}

// check tells whether all operations of the branches taken can be done.
func (w *writer) check(p *plan) error {
	nested := p.nested
	for _, op := range p.ops {
		var err error
		switch {
		case op.GetRequestRange() != nil:
			err = checkRevision(op.GetRequestRange(), w.state.Revision, w.state.Compact)
		case op.GetRequestPut() != nil:
			_, err = w.checkPut(op.GetRequestPut())
		case op.GetRequestTxn() != nil:
			err = w.check(nested[0])
			nested = nested[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkRevision is more strict than a range that stands alone, which takes a negative revision for the current one.
func checkRevision(r *pb.RangeRequest, current, compact int64) error {
	if compact == 0 {
		compact = -1 // as etcd has it while nothing was compacted
	}
	switch {
	case r.Revision > current:
		return ErrFutureRevision
	case r.Revision != 0 && r.Revision < compact:
		return ErrCompacted
	}
	return nil
}

// txn carries a transaction out.
func (w *writer) txn(t *pb.TxnRequest) (*pb.TxnResponse, error) {
	w.counted.txns++
	p, err := planTxn(w, t)
	if err != nil {
		return nil, err
	}
	if err := w.check(p); err != nil {
		return nil, err
	}
	resp, err := runPlan(w, p, w.change)
	if err != nil {
		return nil, err
	}
	resp.Header.Revision = w.readRevision()
	return resp, nil
}

// runPlan does the operations of the branches taken. change does those that are neither a range nor a
// transaction.
func runPlan(v txnView, p *plan, change func(*pb.RequestOp) (*pb.ResponseOp, error)) (*pb.TxnResponse, error) {
	resp := &pb.TxnResponse{
		Header:    &pb.ResponseHeader{},
		Succeeded: p.succeeded,
		Responses: make([]*pb.ResponseOp, len(p.ops)),
	}
	nested := p.nested
	for i, op := range p.ops {
		var err error
		switch {
		case op.GetRequestRange() != nil:
			var r *pb.RangeResponse
			r, err = v.queryRange(op.GetRequestRange())
			resp.Responses[i] = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: r}}
		case op.GetRequestTxn() != nil:
			var r *pb.TxnResponse
			r, err = runPlan(v, nested[0], change)
			nested = nested[1:]
			resp.Responses[i] = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: r}}
		default:
			resp.Responses[i], err = change(op)
		}
		if err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// change does a put or delete of a transaction.
func (w *writer) change(op *pb.RequestOp) (*pb.ResponseOp, error) {
	if p := op.GetRequestPut(); p != nil {
		r, err := w.put(p)
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: r}}, err
	}
	r, err := w.deleteRange(op.GetRequestDeleteRange())
	return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: r}}, err
}

// queryRange answers a range within a transaction, which sees what the transaction did so far.
func (w *writer) queryRange(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	keys := newKeyRange(r.Key, r.RangeEnd)
	if keys.point && r.Revision <= 0 {
		return w.queryKey(r)
	}
	reader, err := w.reader()
	if err != nil {
		return nil, err
	}
	return executeRange(context.Background(), reader, r, w.readRevision(), w.state.Compact)
}

// queryKey answers a range over one key from the header cache, and without a value asked for from nothing
// else.
func (w *writer) queryKey(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	q := rangeQuery{request: r, header: header64(w.readRevision())}
	all, err := w.existingKey(r.Key, !r.KeysOnly && !r.CountOnly)
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		q.count++
		if !r.CountOnly && q.selects(f.header) {
			q.kvs = append(q.kvs, f.header.KeyValue(f.key, f.value))
		}
	}
	return q.response(), nil
}
