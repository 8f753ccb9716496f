package kv

import (
	"context"
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestRevisions: what moves the revision, and what the headers say.
func TestRevisions(t *testing.T) {
	s := open(t, Options{})
	must[*pb.LeaseGrantResponse](t, s, Command{LeaseGrant: &pb.LeaseGrantRequest{ID: 1, TTL: 10}})
	leased := put("leased", "")
	leased.Put.Lease = 1
	for _, c := range []struct {
		name    string
		command Command
		want    int64
	}{
		{"grant", Command{LeaseGrant: &pb.LeaseGrantRequest{ID: 2, TTL: 10}}, 1},
		{"put", put("a", ""), 2},
		{"delete of nothing", del("x", "y"), 2},
		{"delete", del("a", ""), 3},
		{"empty transaction", Command{Txn: &pb.TxnRequest{}}, 3},
		{"transaction that deletes nothing", Command{Txn: success(delOp("x", ""))}, 3},
		{"transaction of three writes", Command{Txn: success(putOp("a"), putOp("b"), delOp("c", ""))}, 4},
		{"put with lease", leased, 5},
		{"compact", compact(2), 5},
		{"revoke with keys", Command{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 1}}, 6},
		{"revoke without keys", Command{LeaseRevoke: &pb.LeaseRevokeRequest{ID: 2}}, 6},
		{"member", Command{Member: &MemberUpdate{Operation: MemberSet, Member: Member{ID: 1}}}, 6},
	} {
		r := apply(t, s, c.command)[0]
		if r.Err != nil {
			t.Fatalf("%s: %v", c.name, r.Err)
		}
		header := r.Response.(interface{ GetHeader() *pb.ResponseHeader }).GetHeader()
		if s.Revision() != c.want || header.Revision != c.want {
			t.Errorf("%s: revision %d, header %d, want %d", c.name, s.Revision(), header.Revision, c.want)
		}
	}
}

// TestTxnReadsItsOwnWrites: a range sees the operations before it, and only those.
func TestTxnReadsItsOwnWrites(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("a", "old"), put("c", "old"))
	read := rangeOp(&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("z")})
	old := rangeOp(&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("z"), Revision: 3})
	r := must[*pb.TxnResponse](t, s, Command{Txn: success(read, putOp("a"), delOp("c", ""), putOp("b"), read, old,
		txnOp(&pb.TxnRequest{
			// Compares are evaluated before anything is written, those of nested transactions too.
			Compare: []*pb.Compare{{Key: []byte("a"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("old")}}},
			Success: []*pb.RequestOp{read},
		}))})
	texts := []string{"", "", ""}
	for i, at := range []int{0, 4, 5} {
		for _, kv := range r.Responses[at].GetResponseRange().Kvs {
			texts[i] += string(kv.Key) + "=" + string(kv.Value) + " "
		}
	}
	if texts[0] != "a=old c=old " || texts[1] != "a=v b=v " || texts[2] != "a=old c=old " {
		t.Errorf("read %q", texts)
	}
	if revs := []int64{r.Responses[0].GetResponseRange().Header.Revision, r.Responses[1].GetResponsePut().Header.Revision, r.Responses[4].GetResponseRange().Header.Revision, r.Header.Revision}; revs[0] != 3 || revs[1] != 4 || revs[2] != 4 || revs[3] != 4 {
		t.Errorf("revisions %v", revs)
	}
	nested := r.Responses[6].GetResponseTxn()
	if !nested.Succeeded || nested.Responses[0].GetResponseRange().Count != 2 {
		t.Errorf("nested: %v", nested)
	}
}

// TestTxnChecksBeforeItWrites: when one operation can't be done, none is.
func TestTxnChecksBeforeItWrites(t *testing.T) {
	for _, c := range []struct {
		name string
		op   *pb.RequestOp
		want error
	}{
		{"unknown lease", &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("b"), Lease: 9}}}, ErrLeaseNotFound},
		{"ignore value of no key", &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("b"), IgnoreValue: true}}}, ErrKeyNotFound},
		{"ignore lease of no key", &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("b"), IgnoreLease: true}}}, ErrKeyNotFound},
		{"future revision", rangeOp(&pb.RangeRequest{Key: []byte("b"), Revision: 5}), ErrFutureRevision},
		{"compacted revision", rangeOp(&pb.RangeRequest{Key: []byte("b"), Revision: 2}), ErrCompacted},
	} {
		for _, op := range []*pb.RequestOp{c.op, txnOp(success(c.op))} {
			s := open(t, Options{})
			apply(t, s, put("a", "1"), put("a", "2"), put("a", "3"), compact(3))
			r := apply(t, s, Command{Txn: success(putOp("z"), delOp("a", ""), op)})[0]
			if !errors.Is(r.Err, c.want) || s.Revision() != 4 {
				t.Errorf("%s: %v at revision %d", c.name, r.Err, s.Revision())
			}
			if n := get(t, s, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}).Count; n != 1 {
				t.Errorf("%s: %d keys, want that which was there", c.name, n)
			}
			// The branch that isn't taken may be impossible.
			if r := apply(t, s, Command{Txn: &pb.TxnRequest{Failure: []*pb.RequestOp{op}}})[0]; r.Err != nil {
				t.Errorf("%s in the branch that isn't taken: %v", c.name, r.Err)
			}
		}
	}
}

// TestPutThenDeleteInOneTxn: nested transactions may do that; both events carry the one revision.
func TestPutThenDeleteInOneTxn(t *testing.T) {
	s := open(t, Options{})
	ws := watch(t, s, WatchRequest{RangeEnd: []byte{0}})
	must[*pb.TxnResponse](t, s, Command{Txn: success(txnOp(success(putOp("a"))), txnOp(success(delOp("a", ""))))})
	expect(t, ws, "2 PUT a=v; 2 DELETE a=; ")
	if r := get(t, s, &pb.RangeRequest{Key: []byte("a")}); r.Count != 0 {
		t.Errorf("found %v", r)
	}
	apply(t, s, put("b", ""), compact(3))
	if err := s.WaitCompacted(testContext(t), 3); err != nil {
		t.Fatal(err)
	}
	if r := get(t, s, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}); r.Count != 1 {
		t.Errorf("found %v", r)
	}
}

func TestCompares(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("a", "1"), put("a", "2"), put("b", "2"), put("empty", ""))
	all := func(c *pb.Compare) *pb.Compare { c.Key, c.RangeEnd = []byte("a"), []byte("c"); return c }
	one := func(key string, c *pb.Compare) *pb.Compare { c.Key = []byte(key); return c }
	value := func(v string) *pb.Compare_Value { return &pb.Compare_Value{Value: []byte(v)} }
	for i, c := range []struct {
		compare *pb.Compare
		want    bool
	}{
		{all(&pb.Compare{Target: pb.Compare_VALUE, TargetUnion: value("2")}), true},
		{all(&pb.Compare{Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 2}}), false},
		{all(&pb.Compare{Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{}}), true},
		{all(&pb.Compare{Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{}}), true},
		{one("none", &pb.Compare{Target: pb.Compare_VALUE, TargetUnion: value("")}), false},
		{one("none", &pb.Compare{Target: pb.Compare_VALUE, Result: pb.Compare_NOT_EQUAL, TargetUnion: value("x")}), false},
		{one("none", &pb.Compare{Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{}}), true},
		{one("none", &pb.Compare{Target: pb.Compare_MOD, Result: pb.Compare_LESS, TargetUnion: &pb.Compare_ModRevision{ModRevision: 1}}), true},
		{one("empty", &pb.Compare{Target: pb.Compare_VALUE, TargetUnion: value("")}), true},
		{one("a", &pb.Compare{Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 3}}), true},
		{one("a", &pb.Compare{Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 2}}), true},
	} {
		txn := &pb.TxnRequest{Compare: []*pb.Compare{c.compare}}
		if r := must[*pb.TxnResponse](t, s, Command{Txn: txn}); r.Succeeded != c.want {
			t.Errorf("%d: %v is %v when applied", i, c.compare, r.Succeeded)
		}
		if r, err := s.ReadTxn(context.Background(), txn); err != nil || r.Succeeded != c.want {
			t.Errorf("%d: %v is %v when read, %v", i, c.compare, r.GetSucceeded(), err)
		}
	}
}

func TestIsReadOnly(t *testing.T) {
	read := rangeOp(&pb.RangeRequest{Key: []byte("a")})
	for _, c := range []struct {
		txn  *pb.TxnRequest
		want bool
	}{
		{&pb.TxnRequest{}, true},
		{success(read, read), true},
		{&pb.TxnRequest{Success: []*pb.RequestOp{read}, Failure: []*pb.RequestOp{putOp("a")}}, false},
		{success(delOp("a", "")), false},
		{success(txnOp(success(read))), false},
	} {
		if got := IsReadOnly(c.txn); got != c.want {
			t.Errorf("%v: %v", c.txn, got)
		}
	}
	s := open(t, Options{})
	if _, err := s.ReadTxn(context.Background(), success(putOp("a"))); !errors.Is(err, ErrInvalidCommand) {
		t.Error(err)
	}
}
