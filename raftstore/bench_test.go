package raftstore

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// BenchmarkPut writes 256-byte values from many callers through three members with all their syncs.
func BenchmarkPut(b *testing.B) {
	for _, at := range []string{"leader", "follower", "all"} {
		for _, callers := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", at, callers), func(b *testing.B) { benchmarkPut(b, at, callers) })
		}
	}
}

func benchmarkPut(b *testing.B, at string, callers int) {
	c := newTestCluster(b, 3, nil)
	targets := map[string][]*testMember{"leader": {c.leader()}, "follower": {c.follower()}, "all": c.members}[at]
	value := make([]byte, 256)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for caller := range callers {
		m := targets[caller%len(targets)]
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				key := fmt.Appendf(nil, "%08d", i%100_000)
				if _, err := m.Put(b.Context(), &pb.PutRequest{Key: key, Value: value}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

func BenchmarkLinearizableRead(b *testing.B) {
	for _, at := range []string{"leader", "follower"} {
		for _, callers := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/%d", at, callers), func(b *testing.B) {
				c := newTestCluster(b, 3, nil)
				m := map[string]*testMember{"leader": c.leader(), "follower": c.follower()}[at]
				m.put("key", "value")
				var next atomic.Int64
				var wg sync.WaitGroup
				b.ResetTimer()
				for range callers {
					wg.Go(func() {
						for next.Add(1) <= int64(b.N) {
							if _, err := m.Range(b.Context(), &pb.RangeRequest{Key: []byte("key")}); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
			})
		}
	}
}
