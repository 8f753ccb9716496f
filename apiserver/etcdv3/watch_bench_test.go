package etcdv3

import (
	"errors"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ctlplane/ctlplane/kv"
)

// countingCodec only counts the events of messages, so that a benchmark measures the server and not its own decoding.
type countingCodec struct{ encoding.CodecV2 }

func (countingCodec) Unmarshal(data mem.BufferSlice, v any) error {
	count := v.(*int)
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	*count = 0
	for b := buf.ReadOnlyData(); len(b) > 0; {
		field, kind, n := protowire.ConsumeTag(b)
		m := protowire.ConsumeFieldValue(field, kind, b[n:])
		if n < 0 || m < 0 {
			return errors.New("malformed")
		}
		if field == 11 {
			*count++
		}
		b = b[n+m:]
	}
	return nil
}

// BenchmarkWatchDelivery sends one put after the other to 10 streams of 100 watches each. Allocations are of an event to one
// watch.
func BenchmarkWatchDelivery(b *testing.B) {
	const streams, watches = 10, 100
	backend := newLocalBackend(b)
	address := serve(b, backend, ServerConfig{}, Options{})
	var all []grpc.ClientStream
	for range streams {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(countingCodec{newCodec()})))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		s, err := conn.NewStream(b.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, pb.Watch_Watch_FullMethodName)
		if err != nil {
			b.Fatal(err)
		}
		for range watches {
			if err := s.SendMsg(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("key")}}}); err != nil {
				b.Fatal(err)
			}
			var none int
			if err := s.RecvMsg(&none); err != nil {
				b.Fatal(err)
			}
		}
		all = append(all, s)
	}
	value := make([]byte, 256)
	puts := b.N/(streams*watches) + 1
	done := make(chan int, streams)
	b.ReportAllocs()
	b.ResetTimer()
	for _, s := range all {
		go func() {
			seen, count := 0, 0
			for seen < puts*watches && s.RecvMsg(&count) == nil {
				seen += count
			}
			done <- seen
		}()
	}
	for range puts {
		if _, err := backend.apply(kv.Command{Put: &pb.PutRequest{Key: []byte("key"), Value: value}}); err != nil {
			b.Fatal(err)
		}
	}
	for range all {
		<-done
	}
}

// A reader that is stuck costs the others nothing, and the store no more than its bounds.
func TestStuckWatchIsAlone(t *testing.T) {
	backend := newLocalBackend(t)
	address := serve(t, backend, ServerConfig{}, Options{})
	stuck := openRawWatch(t, connect(t, address)) // it never reads again
	for id := range int64(50) {
		stuck.create(&pb.WatchCreateRequest{Key: []byte("k"), WatchId: id + 1, PrevKv: true})
	}
	c := connect(t, address)
	events := c.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
	<-events
	value := string(make([]byte, 64<<10))
	const puts = 1000 // for the stuck ones, three gigabytes
	go func() {
		for i := range puts {
			_, _ = c.Put(t.Context(), "k", fmt.Sprint(i, value))
		}
	}()
	take(t, events, puts)
	m := backend.store.Metrics()
	if m.SlowWatchers != 50 {
		t.Errorf("%d of 50 stuck watches are known as slow", m.SlowWatchers)
	}
	if limit := 64 << 20; m.WatchTailBytes > limit {
		t.Errorf("%d bytes are kept for slow watches", m.WatchTailBytes)
	}
}
