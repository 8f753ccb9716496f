package kv

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/kv/layout/layouttest"
)

// Generators of commands over few keys, so that they meet.

func genKey(t *rapid.T) []byte { return rapid.SampledFrom(layouttest.Keys).Draw(t, "key") }

func genEnd(t *rapid.T) []byte {
	switch rapid.IntRange(0, 4).Draw(t, "end kind") {
	case 0, 1:
		return nil
	case 2:
		return []byte{0}
	}
	return genKey(t)
}

func genValue(t *rapid.T) []byte {
	return rapid.SampledFrom([][]byte{nil, []byte("x"), []byte("y"), []byte("z\x00"), make([]byte, 300)}).Draw(t, "value")
}

func genLease(t *rapid.T) int64 { return rapid.Int64Range(1, 3).Draw(t, "lease") }

func genPut(t *rapid.T) *pb.PutRequest {
	p := &pb.PutRequest{Key: genKey(t), PrevKv: rapid.Bool().Draw(t, "prev")}
	switch rapid.IntRange(0, 9).Draw(t, "put kind") {
	case 0:
		p.IgnoreValue = true
	case 1:
		p.IgnoreLease = true
		p.Value = genValue(t)
	case 2, 3:
		p.Lease = genLease(t)
		p.Value = genValue(t)
	default:
		p.Value = genValue(t)
	}
	return p
}

func genDelete(t *rapid.T) *pb.DeleteRangeRequest {
	return &pb.DeleteRangeRequest{Key: genKey(t), RangeEnd: genEnd(t), PrevKv: rapid.Bool().Draw(t, "prev")}
}

func genRange(t *rapid.T, rev int64) *pb.RangeRequest {
	r := &pb.RangeRequest{Key: genKey(t), RangeEnd: genEnd(t)}
	if rapid.Bool().Draw(t, "old") {
		r.Revision = rapid.Int64Range(0, rev+1).Draw(t, "revision")
	}
	if rapid.Bool().Draw(t, "plain") {
		return r
	}
	r.Limit = rapid.Int64Range(0, 4).Draw(t, "limit")
	r.SortOrder = pb.RangeRequest_SortOrder(rapid.IntRange(0, 2).Draw(t, "order"))
	r.SortTarget = pb.RangeRequest_SortTarget(rapid.IntRange(0, 4).Draw(t, "target"))
	switch rapid.IntRange(0, 7).Draw(t, "range kind") {
	case 0:
		r.CountOnly = true
	case 1:
		r.KeysOnly = true
	case 2:
		r.MinModRevision = rapid.Int64Range(0, rev).Draw(t, "min mod")
	case 3:
		r.MaxModRevision = rapid.Int64Range(0, rev).Draw(t, "max mod")
	case 4:
		r.MinCreateRevision = rapid.Int64Range(0, rev).Draw(t, "min create")
	case 5:
		r.MaxCreateRevision = rapid.Int64Range(0, rev).Draw(t, "max create")
	}
	return r
}

func genCompare(t *rapid.T, rev int64) *pb.Compare {
	c := &pb.Compare{
		Key: genKey(t), RangeEnd: genEnd(t),
		Result: pb.Compare_CompareResult(rapid.IntRange(0, 3).Draw(t, "result")),
		Target: pb.Compare_CompareTarget(rapid.IntRange(0, 4).Draw(t, "target")),
	}
	n := rapid.Int64Range(0, rev).Draw(t, "compared")
	switch c.Target {
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: genValue(t)}
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: n % 3}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: n}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: n}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: n % 4}
	}
	return c
}

func genOps(t *rapid.T, rev int64, depth int) []*pb.RequestOp {
	ops := make([]*pb.RequestOp, rapid.IntRange(0, 3).Draw(t, "ops"))
	for i := range ops {
		switch kind := rapid.IntRange(0, 6).Draw(t, "op kind"); {
		case kind < 2:
			ops[i] = &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: genPut(t)}}
		case kind < 4 || depth == 0:
			ops[i] = &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: genDelete(t)}}
		case kind < 5:
			ops[i] = &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: genRange(t, rev)}}
		default:
			ops[i] = &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: genTxn(t, rev, depth-1)}}
		}
	}
	return ops
}

func genTxn(t *rapid.T, rev int64, depth int) *pb.TxnRequest {
	txn := &pb.TxnRequest{Success: genOps(t, rev, depth), Failure: genOps(t, rev, depth)}
	for range rapid.IntRange(0, 2).Draw(t, "compares") {
		txn.Compare = append(txn.Compare, genCompare(t, rev))
	}
	return txn
}

// genChurn makes a transaction that deletes and puts one key, in whatever order: alone or by a range, at the top or
// nested. Those that put it twice, or put what they delete by a bounded range, are refused by Validate.
func genChurn(t *rapid.T, key []byte) *pb.TxnRequest {
	txn := &pb.TxnRequest{}
	for range rapid.IntRange(2, 5).Draw(t, "churn") {
		op := delOp(string(key), rapid.SampledFrom([]string{"\x00", "\x00", "\x00", ""}).Draw(t, "churn end"))
		if rapid.Bool().Draw(t, "churn put") {
			put := &pb.PutRequest{Key: key, Value: genValue(t), PrevKv: rapid.Bool().Draw(t, "prev")}
			op = &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}}
		}
		if rapid.IntRange(0, 3).Draw(t, "churn nested") == 0 {
			op = &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: success(op)}}
		}
		txn.Success = append(txn.Success, op)
	}
	return txn
}

// genCompaction asks for every revision, and for the present one more than for any other.
func genCompaction(t *rapid.T, rev int64) *pb.CompactionRequest {
	if rapid.Bool().Draw(t, "compact all") {
		return &pb.CompactionRequest{Revision: rev}
	}
	return &pb.CompactionRequest{Revision: rapid.Int64Range(0, rev+1).Draw(t, "compact")}
}

func genCommand(t *rapid.T, rev int64) Command {
	switch kind := rapid.IntRange(0, 21).Draw(t, "command kind"); {
	case kind < 8:
		return Command{Put: genPut(t)}
	case kind < 11:
		return Command{DeleteRange: genDelete(t)}
	case kind < 15:
		return Command{Txn: genTxn(t, rev, 2)}
	case kind < 16:
		return Command{Compact: genCompaction(t, rev)}
	case kind < 18:
		return Command{LeaseGrant: &pb.LeaseGrantRequest{ID: genLease(t), TTL: rapid.Int64Range(0, 5).Draw(t, "ttl")}}
	case kind < 21:
		return Command{Txn: genChurn(t, genKey(t))}
	}
	return Command{LeaseRevoke: &pb.LeaseRevokeRequest{ID: genLease(t)}}
}

// printable is how a failing command is shown.
func printable(c Command) string {
	if err := c.one(); err != nil {
		return err.Error()
	}
	if c.Member != nil {
		return fmt.Sprintf("%+v", *c.Member)
	}
	_, m := c.message()
	return fmt.Sprintf("%T{%v}", m, m)
}
