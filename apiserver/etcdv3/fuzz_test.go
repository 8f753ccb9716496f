package etcdv3

import (
	"context"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/api/writepb"
	"github.com/ctlplane/ctlplane/kv"
)

// fakeStream is a server's side of a stream without a network: requests are what it receives, answers are counted.
type fakeStream[Request, Response any] struct {
	grpc.ServerStream
	ctx      context.Context
	requests []*Request
	answers  int
}

func (s *fakeStream[Request, Response]) Context() context.Context     { return s.ctx }
func (s *fakeStream[Request, Response]) SendHeader(metadata.MD) error { return nil }

func (s *fakeStream[Request, Response]) Recv() (*Request, error) {
	if len(s.requests) == 0 {
		return nil, io.EOF
	}
	r := s.requests[0]
	s.requests = s.requests[1:]
	return r, nil
}

func (s *fakeStream[Request, Response]) SendMsg(m any) error {
	s.answers++
	data, err := newCodec().Marshal(m)
	data.Free()
	return err
}

func (s *fakeStream[Request, Response]) Send(r *Response) error {
	s.answers++
	_, err := proto.Marshal(any(r).(proto.Message)) // as gRPC does
	return err
}

func newMemoryBackend(t testing.TB) *localBackend {
	store, err := kv.Open(kv.Options{Dir: "kv", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &localBackend{store: store}
}

// Whatever arrives on a write stream, each write in it is answered once.
func FuzzPipeline(f *testing.F) {
	for _, batch := range []*writepb.WriteBatch{
		{},
		{Ops: []*writepb.WriteOp{{Id: 1, Key: []byte("k"), Value: []byte("v")}, {Id: 1, Delete: true}, {}}},
		{Ops: []*writepb.WriteOp{{Id: 1 << 63, Key: []byte{0}, Lease: -1}}},
	} {
		b, err := proto.Marshal(batch)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	b := newMemoryBackend(f)
	f.Fuzz(func(t *testing.T, message []byte) {
		var batch, again writepb.WriteBatch
		if proto.Unmarshal(message, &batch) != nil || proto.Unmarshal(message, &again) != nil {
			return
		}
		answered := 0
		stream := &countedResults{&fakeStream[writepb.WriteBatch, writepb.ResultBatch]{
			ctx: t.Context(), requests: []*writepb.WriteBatch{&batch, &again},
		}, &answered}
		if err := newPipelineServer(b, pipelineHeader(b), DefaultMaxRequestBytes).Write(stream); err != nil {
			t.Fatal(err)
		}
		if answered != 2*len(batch.Ops) {
			t.Errorf("%d answers to %d writes", answered, 2*len(batch.Ops))
		}
	})
}

type countedResults struct {
	*fakeStream[writepb.WriteBatch, writepb.ResultBatch]
	answered *int
}

func (s *countedResults) Send(r *writepb.ResultBatch) error {
	*s.answered += len(r.Results)
	return s.fakeStream.Send(r)
}
