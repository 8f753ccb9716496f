package kv

import (
	"context"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clocktesting "k8s.io/utils/clock/testing"
)

// benchCommands returns n puts of 256-byte values, to keys that are new if fresh, to 10,000 keys else.
func benchCommands(n, from int, fresh bool) []Command {
	value := make([]byte, 256)
	commands := make([]Command, n)
	for i := range commands {
		k := from + i
		if !fresh {
			k = (k * 7919) % 10_000
		}
		// Hashed, as keys that clients choose come in no order.
		key := fmt.Appendf(nil, "/registry/bench/%016x", uint64(k)*0x9e3779b97f4a7c15)
		commands[i] = Command{Put: &pb.PutRequest{Key: key, Value: value}}
	}
	return commands
}

// BenchmarkApplyPut applies 256-byte puts in entries of 500; ns/op is for one put.
func BenchmarkApplyPut(b *testing.B) {
	for _, fresh := range []bool{false, true} {
		b.Run(fmt.Sprintf("fresh=%v", fresh), func(b *testing.B) {
			s := open(b, Options{Dir: b.TempDir() + "/db", FS: diskFS})
			b.ReportAllocs()
			index := uint64(0)
			for done := 0; done < b.N; done += 500 {
				b.StopTimer()
				commands := benchCommands(500, done, fresh)
				b.StartTimer()
				index++
				if _, err := s.Apply([]Entry{{Index: index, Term: 1, Commands: commands}}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
		})
	}
}

// BenchmarkApplyGuardedUpdate applies Kubernetes' kind of transaction: put if the mod revision is as read.
func BenchmarkApplyGuardedUpdate(b *testing.B) {
	s := open(b, Options{Dir: b.TempDir() + "/db", FS: diskFS})
	mods := map[string]int64{}
	index := uint64(0)
	for done := 0; done < b.N; done += 100 {
		b.StopTimer()
		commands := benchCommands(100, done, false)
		for i := range commands {
			p := commands[i].Put
			commands[i] = Command{Txn: &pb.TxnRequest{
				Compare: []*pb.Compare{{Key: p.Key, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: mods[string(p.Key)]}}},
				Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: p}}},
				Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: p.Key}}}},
			}}
			mods[string(p.Key)] = s.Revision() + int64(i) + 1
		}
		index++
		b.StartTimer()
		if _, err := s.Apply([]Entry{{Index: index, Term: 1, Commands: commands}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "txns/s")
}

// BenchmarkRange reads from a store of 50,000 keys that is on the disk and fits in the block cache.
func BenchmarkRange(b *testing.B) {
	s := open(b, Options{Dir: b.TempDir() + "/db", FS: diskFS})
	const keys = 50_000
	for i := 0; i < keys; i += 1000 {
		apply(b, s, benchCommands(1000, i, true)...)
	}
	if err := s.Flush(); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		make func(i int) *pb.RangeRequest
	}{
		{"get", func(i int) *pb.RangeRequest {
			return &pb.RangeRequest{Key: fmt.Appendf(nil, "/registry/bench/%016x", uint64(i%keys)*0x9e3779b97f4a7c15)}
		}},
		{"absent", func(i int) *pb.RangeRequest {
			return &pb.RangeRequest{Key: fmt.Appendf(nil, "/registry/bench/%016x-", uint64(i%keys)*0x9e3779b97f4a7c15)}
		}},
		{"list500", func(int) *pb.RangeRequest {
			return &pb.RangeRequest{Key: []byte("/registry/bench/8"), RangeEnd: []byte("/registry/bench/84"), Limit: 500}
		}},
		{"count50k", func(int) *pb.RangeRequest {
			return &pb.RangeRequest{Key: []byte("/"), RangeEnd: []byte("0"), CountOnly: true}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if _, err := s.Range(context.Background(), c.make(i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPoints is BenchmarkRange's get, of 16 keys together; ns/op is for one.
func BenchmarkPoints(b *testing.B) {
	s := open(b, Options{Dir: b.TempDir() + "/db", FS: diskFS})
	const keys, together = 50_000, 16
	for i := 0; i < keys; i += 1000 {
		apply(b, s, benchCommands(1000, i, true)...)
	}
	if err := s.Flush(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	points := make([]*Point, 0, together)
	for i := range b.N {
		points = append(points, &Point{Request: &pb.RangeRequest{Key: fmt.Appendf(nil, "/registry/bench/%016x", uint64(i%keys)*0x9e3779b97f4a7c15)}})
		if len(points) < together {
			continue
		}
		if err := s.Points(points); err != nil {
			b.Fatal(err)
		}
		points = points[:0]
	}
}

// BenchmarkWatchFanOut applies one put an iteration that 1000 streams watch, beside 10,000 that don't.
func BenchmarkWatchFanOut(b *testing.B) {
	s := open(b, Options{})
	for i := range 10_000 {
		ws := s.NewWatchStream()
		defer ws.Close()
		if _, err := ws.Watch(WatchRequest{Key: fmt.Appendf(nil, "other/%d/", i), RangeEnd: fmt.Appendf(nil, "other/%d0", i)}); err != nil {
			b.Fatal(err)
		}
	}
	streams := make([]*WatchStream, 1000)
	for i := range streams {
		streams[i] = s.NewWatchStream()
		defer streams[i].Close()
		if _, err := streams[i].Watch(WatchRequest{Key: []byte("a"), RangeEnd: []byte("b")}); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for range b.N {
		apply(b, s, put("a1", "value"))
		for _, ws := range streams {
			if _, err := ws.Next(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkCompaction removes what compactions made superfluous, without the pauses; ns/op is for one change, of which every
// tenth deletes a key.
func BenchmarkCompaction(b *testing.B) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0)) // which nobody moves: the background stays in its first pause
	s := open(b, Options{Dir: b.TempDir() + "/db", FS: diskFS, Clock: clock})
	for done := 0; done < b.N; {
		b.StopTimer()
		for range 20 {
			commands := benchCommands(1000, done, false)
			for i := 0; i < len(commands); i += 10 {
				commands[i] = Command{DeleteRange: &pb.DeleteRangeRequest{Key: commands[i].Put.Key}}
			}
			apply(b, s, commands...)
			done += len(commands)
		}
		must[*pb.CompactionResponse](b, s, compact(s.Revision()))
		waitFor(b, clock.HasWaiters)
		b.StartTimer()
		for s.compact.behind() {
			if err := s.compact.work(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
