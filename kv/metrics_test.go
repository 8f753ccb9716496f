package kv

import (
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestMetricsOfWhatWasDone(t *testing.T) {
	var granted []int64
	compacted := make(chan time.Duration, 10)
	s := open(t, Options{
		OnLeaseGrant: func(ttl int64) { granted = append(granted, ttl) },
		OnCompacted:  func(took time.Duration) { compacted <- took },
	})
	apply(t, s, grant(1, 60), put("key", "value"), put("key", "other"), revoke(1), grant(2, 600), addUser("a"))
	if !slices.Equal(granted, []int64{60, 600}) {
		t.Errorf("granted: %v", granted)
	}
	ignoring := Command{Put: &pb.PutRequest{Key: []byte("key"), IgnoreValue: true}}
	must[*pb.PutResponse](t, s, ignoring)
	if m := s.Metrics(); m.Puts != 3 || m.PutBytes != 24 || m.AuthRevision != 2 {
		t.Errorf("%+v", m)
	}
	if len(compacted) > 0 {
		t.Error("compacted before there was anything to compact")
	}
	must[*pb.CompactionResponse](t, s, compact(s.Revision()))
	select {
	case took := <-compacted:
		if took <= 0 {
			t.Errorf("the compaction took %v", took)
		}
	case <-time.After(60 * time.Second):
		t.Error("nobody was told of the compaction")
	}
}
