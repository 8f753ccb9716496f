package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ctlplane/ctlplane/bench"
)

// The rows of scans. The memory of a member is to stay below 512 MB, whatever it holds and sends.
var (
	streamRow       = row{name: "all keys by RangeStream", unit: millis, less: true}
	streamMemoryRow = row{name: "highest memory meanwhile", unit: megabytes, less: true, target: 512, absolute: true}
	pagesRow        = row{name: "all keys in pages of 10,000", unit: millis, less: true}
	pagesMemoryRow  = row{name: "highest memory while paging", unit: megabytes, less: true, target: 512, absolute: true}
)

const (
	largeValueSize = 64
	pageKeys       = 10_000
	memoryInterval = 100 * time.Millisecond
)

// largeStage is what shows only when there is much more data than a small test has.
func largeStage(n size) stage {
	keys := count(n.largeKeys)
	return stage{name: keys + " keys", rounds: 1, measure: func(ctx context.Context, s *subject) error {
		o := bench.Options{ValueSize: largeValueSize, Progress: s.progress}
		report, err := s.run(ctx, &bench.Restart{Keys: n.largeKeys, Trials: 1}, o)
		if err != nil {
			return err
		}
		s.note(row{name: "writing " + keys + " keys (16 B + 64 B)", unit: millis, less: true}, report.Figures["fill_seconds"]*1000)
		s.note(restartRow(keys), report.Trials...)
		held := row{name: "memory of the largest member with " + keys + " keys", unit: megabytes, less: true, target: 512, absolute: true}
		if err := s.noteMemory(held); err != nil {
			return err
		}
		for _, scan := range []struct {
			took, memory row
			read         func(ctx context.Context, kv pb.KVClient) (int, error)
		}{{streamRow, streamMemoryRow, streamAll}, {pagesRow, pagesMemoryRow, pageAll}} {
			if err := s.scan(ctx, n.largeKeys, scan.took, scan.memory, scan.read); err != nil {
				return err
			}
		}
		// The history is of other values, and of fewer keys, so that it is as large as it is said to be.
		return s.compaction(ctx, bench.Options{Duration: n.compaction, ValueSize: valueSize}, n.largeHistory)
	}}
}

// scan reads all keys from one member, and watches its memory meanwhile.
func (s *subject) scan(ctx context.Context, keys int, took, memory row, read func(ctx context.Context, kv pb.KVClient) (int, error)) error {
	endpoint := strings.TrimPrefix(s.cluster.Endpoints()[0], "http://")
	conn, err := grpc.NewClient("passthrough:///"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := make(chan struct{})
	highest := make(chan float64)
	go func() { highest <- s.highestMemory(0, stop) }()
	began := time.Now()
	found, err := read(ctx, pb.NewKVClient(conn))
	elapsed := time.Since(began)
	close(stop)
	most := <-highest
	if err != nil {
		return fmt.Errorf("%s: %w", took.name, err)
	}
	if found < keys {
		return fmt.Errorf("%s: %d keys were found of %d", took.name, found, keys)
	}
	s.note(took, float64(elapsed.Milliseconds()))
	s.note(memory, most)
	return nil
}

// highestMemory looks at a member's memory until stop is closed.
func (s *subject) highestMemory(member int, stop <-chan struct{}) (most float64) {
	tick := time.NewTicker(memoryInterval)
	defer tick.Stop()
	for {
		if bytes, err := s.cluster.ResidentBytes(member); err == nil {
			most = max(most, float64(bytes)/1e6)
		}
		select {
		case <-tick.C:
		case <-stop:
			return most
		}
	}
}

// all is a range of every key of the benchmark.
func all() *pb.RangeRequest {
	return &pb.RangeRequest{Key: []byte("bench/"), RangeEnd: []byte("bench0")}
}

func streamAll(ctx context.Context, kv pb.KVClient) (found int, err error) {
	stream, err := kv.RangeStream(ctx, all())
	if err != nil {
		return 0, err
	}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		found += len(chunk.RangeResponse.GetKvs())
	}
}

func pageAll(ctx context.Context, kv pb.KVClient) (found int, err error) {
	req := all()
	req.Limit = pageKeys
	for {
		page, err := kv.Range(ctx, req)
		if err != nil {
			return found, err
		}
		found += len(page.Kvs)
		if !page.More || len(page.Kvs) == 0 {
			return found, nil
		}
		if req.Revision == 0 {
			req.Revision = page.Header.Revision // that of the first page, for all of them
		}
		req.Key = append(page.Kvs[len(page.Kvs)-1].Key, 0)
	}
}
