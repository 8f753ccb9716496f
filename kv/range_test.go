package kv

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestRangeForms: the forms of a request, over keys whose order by key, version, creation and value differ.
func TestRangeForms(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("c", "1"), put("a", "3"), put("b", "2"), put("b", "2"), put("a/x", "0"), put("c", "1"), put("c", "1"))
	// c: created 2, modified 8, version 3. a: 3, 3, 1. b: 4, 5, 2. a/x: 6, 6, 1.
	all := func(edit func(*pb.RangeRequest)) *pb.RangeRequest {
		r := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
		edit(r)
		return r
	}
	sorted := func(target pb.RangeRequest_SortTarget, order pb.RangeRequest_SortOrder) *pb.RangeRequest {
		return all(func(r *pb.RangeRequest) { r.SortTarget, r.SortOrder = target, order })
	}
	for _, c := range []struct {
		name    string
		request *pb.RangeRequest
		want    string // keys, count, more
	}{
		{"one", &pb.RangeRequest{Key: []byte("a")}, "a 1 false"},
		{"none", &pb.RangeRequest{Key: []byte("a/")}, " 0 false"},
		{"prefix", &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b")}, "a,a/x 2 false"},
		{"from key", &pb.RangeRequest{Key: []byte("a/"), RangeEnd: []byte{0}}, "a/x,b,c 3 false"},
		{"end before start", &pb.RangeRequest{Key: []byte("c"), RangeEnd: []byte("a")}, " 0 false"},
		{"limit", all(func(r *pb.RangeRequest) { r.Limit = 2 }), "a,a/x 4 true"},
		{"limit that is met", all(func(r *pb.RangeRequest) { r.Limit = 4 }), "a,a/x,b,c 4 false"},
		{"count", all(func(r *pb.RangeRequest) { r.CountOnly = true; r.Limit = 1 }), " 4 false"},
		{"count of one", &pb.RangeRequest{Key: []byte("a"), CountOnly: true}, " 1 false"},
		{"descending with limit", all(func(r *pb.RangeRequest) { r.SortOrder = pb.RangeRequest_DESCEND; r.Limit = 3 }), "c,b,a/x 4 true"},
		{"by version", sorted(pb.RangeRequest_VERSION, pb.RangeRequest_DESCEND), "c,b,a,a/x 4 false"},
		{"by creation", sorted(pb.RangeRequest_CREATE, pb.RangeRequest_ASCEND), "c,a,b,a/x 4 false"},
		{"by modification, no order means ascending", sorted(pb.RangeRequest_MOD, pb.RangeRequest_NONE), "a,b,a/x,c 4 false"},
		{"by value", sorted(pb.RangeRequest_VALUE, pb.RangeRequest_ASCEND), "a/x,c,b,a 4 false"},
		{"by value, keys only", all(func(r *pb.RangeRequest) { r.SortTarget, r.KeysOnly = pb.RangeRequest_VALUE, true }), "a/x,c,b,a 4 false"},
		{"modified from", all(func(r *pb.RangeRequest) { r.MinModRevision = 6 }), "a/x,c 4 false"},
		{"modified until", all(func(r *pb.RangeRequest) { r.MaxModRevision = 5 }), "a,b 4 false"},
		{"created from, limited", all(func(r *pb.RangeRequest) { r.MinCreateRevision, r.Limit = 3, 2 }), "a,a/x 4 true"},
		{"created until", all(func(r *pb.RangeRequest) { r.MaxCreateRevision = 3 }), "a,c 4 false"},
		{"old", all(func(r *pb.RangeRequest) { r.Revision = 3 }), "a,c 2 false"},
		{"before everything", all(func(r *pb.RangeRequest) { r.Revision = 1 }), " 0 false"},
	} {
		resp := get(t, s, c.request)
		var keys []string
		for _, kv := range resp.Kvs {
			keys = append(keys, string(kv.Key))
			if c.request.KeysOnly && kv.Value != nil {
				t.Errorf("%s: a value came along", c.name)
			}
		}
		if got := fmt.Sprintf("%s %d %v", strings.Join(keys, ","), resp.Count, resp.More); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if resp.Header.Revision != 8 {
			t.Errorf("%s: the header says %d", c.name, resp.Header.Revision)
		}
	}
	for want, r := range map[error]*pb.RangeRequest{
		ErrEmptyKey:          {RangeEnd: []byte("a")},
		ErrInvalidSortOption: {Key: []byte("a"), SortTarget: 17},
		ErrFutureRevision:    {Key: []byte("a"), Revision: 9},
	} {
		if _, err := s.Range(testContext(t), r); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", r, err, want)
		}
	}
	if _, err := s.Range(cancelled(), all(func(*pb.RangeRequest) {})); err != nil {
		t.Errorf("a short range is answered without looking at the context, but: %v", err)
	}
}

func TestPutForms(t *testing.T) {
	s := open(t, Options{})
	must[*pb.LeaseGrantResponse](t, s, grant(1, 60))
	first := must[*pb.PutResponse](t, s, Command{Put: &pb.PutRequest{Key: []byte("a"), Value: []byte("1"), Lease: 1, PrevKv: true}})
	if first.PrevKv != nil || first.Header.Revision != 2 {
		t.Errorf("%v", first)
	}
	for _, c := range []struct {
		put   *pb.PutRequest
		value string
		lease int64
	}{
		{&pb.PutRequest{IgnoreValue: true, Lease: 1}, "1", 1},
		{&pb.PutRequest{IgnoreLease: true, Value: []byte("2")}, "2", 1},
		{&pb.PutRequest{IgnoreValue: true, IgnoreLease: true}, "2", 1},
		{&pb.PutRequest{IgnoreValue: true}, "2", 0},
		{&pb.PutRequest{}, "", 0},
	} {
		before := get(t, s, &pb.RangeRequest{Key: []byte("a")}).Kvs[0]
		c.put.Key, c.put.PrevKv = []byte("a"), true
		r := must[*pb.PutResponse](t, s, Command{Put: c.put})
		after := get(t, s, &pb.RangeRequest{Key: []byte("a")}).Kvs[0]
		if string(after.Value) != c.value || after.Lease != c.lease || after.Version != before.Version+1 || after.CreateRevision != 2 {
			t.Errorf("%v: %v", c.put, after)
		}
		if r.PrevKv.ModRevision != before.ModRevision || string(r.PrevKv.Value) != string(before.Value) || r.PrevKv.Lease != before.Lease {
			t.Errorf("%v: the previous one is %v, want %v", c.put, r.PrevKv, before)
		}
	}
	apply(t, s, del("a", ""))
	again := must[*pb.PutResponse](t, s, Command{Put: &pb.PutRequest{Key: []byte("a"), PrevKv: true}})
	if kv := get(t, s, &pb.RangeRequest{Key: []byte("a")}).Kvs[0]; again.PrevKv != nil || kv.Version != 1 || kv.CreateRevision != 9 {
		t.Errorf("a key that was deleted begins anew: %v, before it %v", kv, again.PrevKv)
	}
}
