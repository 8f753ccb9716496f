package watch

import (
	"context"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv"
)

// memoryStore is a store without a member.
type memoryStore struct {
	*kv.Store
	index uint64
}

func newMemoryStore(t testing.TB) *memoryStore {
	store, err := kv.Open(kv.Options{Dir: "kv", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &memoryStore{Store: store}
}

func (s *memoryStore) put(t testing.TB, key string) {
	s.index++
	put := kv.Command{Put: &pb.PutRequest{Key: []byte(key), Value: []byte("v")}}
	if _, err := s.Apply([]kv.Entry{{Index: s.index, Term: 1, Commands: []kv.Command{put}}}); err != nil {
		t.Fatal(err)
	}
}

func (s *memoryStore) ResumeWatchStream(context.Context, *kv.WatchStream) (*kv.WatchStream, error) {
	return nil, kv.ErrClosed // nothing takes the place of this store
}

func (s *memoryStore) Header() *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: 1, MemberId: 7, RaftTerm: 1, Revision: s.Revision()}
}

// permitAll lets everybody watch everything.
func permitAll(context.Context, []byte, []byte) (Permission, error) { return permitted{}, nil }

type permitted struct{}

func (permitted) Check() error { return nil }

// fakeStream is a server's side of a stream without a network: requests are what it receives, and what it sends is encoded
// as gRPC does.
type fakeStream struct {
	grpc.ServerStream
	ctx      context.Context
	requests []*pb.WatchRequest
}

func (s *fakeStream) Context() context.Context { return s.ctx }

func (s *fakeStream) Recv() (*pb.WatchRequest, error) {
	if len(s.requests) == 0 {
		return nil, io.EOF
	}
	r := s.requests[0]
	s.requests = s.requests[1:]
	return r, nil
}

func (s *fakeStream) SendMsg(m any) error {
	data := m.(interface{ Encode() mem.BufferSlice }).Encode()
	data.Free()
	return nil
}

func (s *fakeStream) Send(r *pb.WatchResponse) error {
	_, err := proto.Marshal(r)
	return err
}

// Whatever is asked of a watch stream, it ends when its client goes away, and every creation was answered.
func FuzzWatch(f *testing.F) {
	create := func(r *pb.WatchCreateRequest) *pb.WatchRequest {
		return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
	}
	for _, request := range []*pb.WatchRequest{
		{},
		create(nil),
		create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte{0}, StartRevision: 1, PrevKv: true, Fragment: true}),
		create(&pb.WatchCreateRequest{StartRevision: -1, WatchId: -9, Filters: []pb.WatchCreateRequest_FilterType{1, 7}}),
		{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: 1}}},
		{RequestUnion: &pb.WatchRequest_ProgressRequest{}},
	} {
		b, err := proto.Marshal(request)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	b := newMemoryStore(f)
	for _, key := range []string{"k", "l"} {
		b.put(f, key)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		var first, second pb.WatchRequest
		if proto.Unmarshal(message, &first) != nil || proto.Unmarshal(message, &second) != nil {
			return
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream := &watchAnswers{fakeStream: &fakeStream{ctx: ctx, requests: []*pb.WatchRequest{&first, &second}}, end: cancel}
		if first.GetCreateRequest() == nil {
			cancel()
		}
		if err := NewServer(b, permitAll, Options{}).Watch(stream); err == nil {
			t.Error("the stream ended without a reason")
		}
	})
}

// watchAnswers ends the stream once two creations are answered.
type watchAnswers struct {
	*fakeStream
	created int
	end     context.CancelFunc
}

func (s *watchAnswers) Send(r *pb.WatchResponse) error {
	if r.Created {
		if s.created++; s.created == 2 {
			s.end()
		}
	}
	return s.fakeStream.Send(r)
}
