package check

import (
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/test/robustness/traffic"
)

const name = "r0/k/1"

func kv(revision int64, value string, version int64) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: []byte(name), Value: []byte(value), CreateRevision: 2, ModRevision: revision, Version: version}
}

func put(call, ret time.Duration, revision int64, value string) *traffic.Op {
	return &traffic.Op{Call: call, Return: ret, Request: &pb.PutRequest{Key: []byte(name), Value: []byte(value)}, Response: &pb.PutResponse{Header: &pb.ResponseHeader{Revision: revision}}}
}

func read(call, ret time.Duration, revision int64, found *mvccpb.KeyValue) *traffic.Op {
	r := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: revision}}
	if found != nil {
		r.Kvs = append(r.Kvs, found)
	}
	return &traffic.Op{Member: 1, Call: call, Return: ret, Request: &pb.RangeRequest{Key: []byte(name)}, Response: r}
}

func event(kv *mvccpb.KeyValue) *clientv3.Event { return (*clientv3.Event)(&mvccpb.Event{Kv: kv}) }

// story is a history in which all is right: two writes, and reads of what they wrote.
func story() *traffic.History {
	h := &traffic.History{
		Prefix: "r0/", Begun: time.Now().Add(-time.Second), Start: 1, Last: 3,
		Ops: []*traffic.Op{
			read(0, 1, 1, nil), put(1, 3, 2, "a"), read(4, 5, 2, kv(2, "a", 1)), put(6, 8, 3, "b"), read(9, 10, 3, kv(3, "b", 2)),
		},
	}
	w := &traffic.Watch{Name: "all", Wants: func(*clientv3.Event) bool { return true }}
	second := event(kv(3, "b", 2))
	second.PrevKv = kv(2, "a", 1)
	w.Segments = []*traffic.Segment{{Watch: w, Start: 2, Seen: 3, Responses: []traffic.Response{
		{WatchResponse: clientv3.WatchResponse{Events: []*clientv3.Event{event(kv(2, "a", 1))}}, At: 4},
		{WatchResponse: clientv3.WatchResponse{Events: []*clientv3.Event{second}}, At: 9},
	}}}
	h.Watches = []*traffic.Watch{w}
	return h
}

func TestChecksFindWhatIsWrong(t *testing.T) {
	segment := func(h *traffic.History) *traffic.Segment { return h.Watches[0].Segments[0] }
	for _, test := range []struct {
		what  string
		spoil func(*traffic.History)
		found []string // of these at least one, and no violation if there is none
	}{
		{"nothing", func(*traffic.History) {}, nil},
		{"a stale read", func(h *traffic.History) { h.Ops = append(h.Ops, read(11, 12, 2, kv(2, "a", 1))) }, []string{"linearizable in real time", "linearizable"}},
		{"a serializable read that goes back", func(h *traffic.History) {
			o := read(11, 12, 2, kv(2, "a", 1))
			o.Request.(*pb.RangeRequest).Serializable = true
			h.Ops = append(h.Ops, o)
		}, []string{"revisions of a member never go back"}},
		{"a wrong value", func(h *traffic.History) { h.Ops[2] = read(4, 5, 2, kv(2, "c", 1)) }, []string{"a range is the state at its revision"}},
		{"a lost write", func(h *traffic.History) { h.Ops = append(h.Ops, put(8, 9, 3, "lost")) }, []string{"acknowledged writes are there, once, and refused ones aren't"}},
		{"a refused write that happened", func(h *traffic.History) {
			h.Ops[3].Response, h.Ops[3].Err = nil, status.Error(codes.FailedPrecondition, "no")
		}, []string{"acknowledged writes are there, once, and refused ones aren't"}},
		{"a read after a compaction", func(h *traffic.History) {
			o := read(12, 13, 3, kv(2, "a", 1))
			o.Request.(*pb.RangeRequest).Revision = 2
			h.Ops = append(h.Ops, &traffic.Op{Call: 11, Return: 12, Request: &pb.CompactionRequest{Revision: 3}, Response: &pb.CompactionResponse{}}, o)
			o.Call = 13
		}, []string{"what was compacted is gone"}},
		{"an event that comes twice", func(h *traffic.History) { segment(h).Responses = append(segment(h).Responses, segment(h).Responses[1]) }, []string{"watches are ordered and unique"}},
		{"a revision in two messages", func(h *traffic.History) {
			other := event(&mvccpb.KeyValue{Key: []byte("r0/k/2"), Value: []byte("x"), CreateRevision: 3, ModRevision: 3, Version: 1})
			segment(h).Responses = append(segment(h).Responses, traffic.Response{WatchResponse: clientv3.WatchResponse{Events: []*clientv3.Event{other}}})
		}, []string{"watches are atomic"}},
		{"an event that another watch misses", func(h *traffic.History) {
			w := &traffic.Watch{Name: "other", Wants: func(*clientv3.Event) bool { return true }}
			w.Segments = []*traffic.Segment{{Watch: w, Start: 2, Seen: 3, Responses: segment(h).Responses[1:]}}
			h.Watches = append(h.Watches, w)
		}, []string{"watches miss nothing"}},
		{"a watch that is resumed too late", func(h *traffic.History) {
			w := h.Watches[0]
			w.Segments = append(w.Segments, &traffic.Segment{Watch: w, Start: 7, Seen: 6})
		}, []string{"watches can be resumed"}},
		{"a report of progress that comes too early", func(h *traffic.History) {
			early := traffic.Response{WatchResponse: clientv3.WatchResponse{Header: &pb.ResponseHeader{Revision: 3}}}
			segment(h).Responses = slices.Insert(segment(h).Responses, 1, early)
		}, []string{"watches' reports of progress are true"}},
		{"a wrong previous value", func(h *traffic.History) { segment(h).Responses[1].Events[0].PrevKv = kv(2, "z", 1) }, []string{"events know what was before"}},
		{"a lease that ends early", func(h *traffic.History) {
			spoilLease(h, &traffic.Lease{Promises: []traffic.Promise{{Call: 10, TTL: 100}}})
		}, []string{"leases"}},
		{"a lease that is renewed after it was revoked", func(h *traffic.History) {
			spoilLease(h, &traffic.Lease{Revoking: 1, Revoked: 2, Promises: []traffic.Promise{{Call: 3, TTL: 1}}})
		}, []string{"leases"}},
	} {
		h := story()
		test.spoil(h)
		result := History(h, Options{Budget: time.Second, Dir: t.TempDir()})
		var got []string
		for _, v := range result.Violations {
			got = append(got, v.Check)
		}
		if len(test.found) == 0 && len(got) > 0 {
			t.Errorf("%s: found %v", test.what, result.Violations)
		}
		for _, want := range test.found {
			if !slices.Contains(got, want) {
				t.Errorf("%s: found by %q, not by %q", test.what, got, want)
			}
		}
		if result.Undecided != "" {
			t.Errorf("%s: %s", test.what, result.Undecided)
		}
	}
}

// TestUnprovenRenewalsPromiseNothing has leases that end before a promise of theirs, of a store that renews without proof.
func TestUnprovenRenewalsPromiseNothing(t *testing.T) {
	for _, test := range []struct {
		what  string
		lease *traffic.Lease
		found bool
	}{
		{"granted", &traffic.Lease{Promises: []traffic.Promise{{Call: 10, TTL: 100}}}, true},
		{"renewed", &traffic.Lease{Promises: []traffic.Promise{{Call: 10, TTL: 100, Renewal: true}}}, false},
		{"renewed after it was revoked", &traffic.Lease{Revoking: 1, Revoked: 2, Promises: []traffic.Promise{{Call: 3, TTL: 1, Renewal: true}}}, false},
	} {
		h := story()
		spoilLease(h, test.lease)
		result := History(h, Options{Budget: time.Second, Dir: t.TempDir(), UnprovenRenewals: true})
		if found := len(result.Violations) > 0; found != test.found {
			t.Errorf("%s: found %v", test.what, result.Violations)
		}
	}
}

// spoilLease adds a lease whose key was deleted at revision 5, which was seen at 50.
func spoilLease(h *traffic.History, l *traffic.Lease) {
	l.Key = "r0/lease/1"
	put := event(&mvccpb.KeyValue{Key: []byte(l.Key), CreateRevision: 4, ModRevision: 4, Version: 1, Lease: 1})
	gone := (*clientv3.Event)(&mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(l.Key), ModRevision: 5}})
	s := h.Watches[0].Segments[0]
	for _, e := range []*clientv3.Event{put, gone} {
		s.Responses = append(s.Responses, traffic.Response{WatchResponse: clientv3.WatchResponse{Events: []*clientv3.Event{e}}, At: 50})
	}
	h.Leases = append(h.Leases, l)
	h.Last = 5
}
