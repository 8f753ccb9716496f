package watch

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Whatever sequence of requests a watch stream gets, each creation is answered once, no event is sent of a watch that is
// not there, and the stream ends with its client.
func FuzzWatchSequence(f *testing.F) {
	sequence := func(all ...*pb.WatchRequest) (b []byte) {
		for _, r := range all {
			m, err := proto.Marshal(r)
			if err != nil {
				f.Fatal(err)
			}
			b = protowire.AppendBytes(b, m)
		}
		return b
	}
	create := func(r *pb.WatchCreateRequest) *pb.WatchRequest {
		return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
	}
	cancel := func(id int64) *pb.WatchRequest {
		return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}}
	}
	progress := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	f.Add(sequence(create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 1}), progress, cancel(0), cancel(0)))
	f.Add(sequence(create(&pb.WatchCreateRequest{RangeEnd: []byte{0}, WatchId: 7, StartRevision: 1, PrevKv: true, Fragment: true}),
		create(&pb.WatchCreateRequest{WatchId: 7}), cancel(7), create(&pb.WatchCreateRequest{WatchId: 7, Key: []byte("k")})))
	f.Add(sequence(progress, create(&pb.WatchCreateRequest{WatchId: -1, Key: []byte("b"), RangeEnd: []byte("a")}), create(&pb.WatchCreateRequest{StartRevision: 1 << 60})))
	b := newMemoryStore(f)
	for range 3 {
		b.put(f, "k")
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var requests []*pb.WatchRequest
		creations := 0
		for len(data) > 0 && len(requests) < 32 {
			m, n := protowire.ConsumeBytes(data)
			r := new(pb.WatchRequest)
			if n < 0 || proto.Unmarshal(m, r) != nil {
				return
			}
			if r.GetCreateRequest() != nil {
				creations++
			}
			requests, data = append(requests, r), data[n:]
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream := &sequenceAnswers{
			fakeStream: &fakeStream{ctx: ctx, requests: requests}, t: t, want: creations, end: cancel, open: map[int64]bool{},
		}
		if creations == 0 {
			cancel()
		}
		if err := NewServer(b, permitAll, Options{}).Watch(stream); err == nil {
			t.Error("the stream ended without a reason")
		}
	})
}

// sequenceAnswers looks at what is sent, and ends the stream once all creations are answered.
type sequenceAnswers struct {
	*fakeStream
	t       *testing.T
	created int
	want    int
	end     context.CancelFunc
	open    map[int64]bool
}

func (s *sequenceAnswers) Send(r *pb.WatchResponse) error {
	switch {
	case r.Created && !r.Canceled:
		if s.open[r.WatchId] {
			s.t.Errorf("watch %d is created twice", r.WatchId)
		}
		s.open[r.WatchId] = true
	case r.Canceled && !r.Created:
		if !s.open[r.WatchId] {
			s.t.Errorf("watch %d ends, and is not there", r.WatchId)
		}
		delete(s.open, r.WatchId)
	}
	if r.Created {
		if s.created++; s.created == s.want {
			s.end()
		}
	}
	return s.fakeStream.Send(r)
}

func (s *sequenceAnswers) SendMsg(m any) error {
	data := m.(interface{ Encode() mem.BufferSlice }).Encode()
	r := new(pb.WatchResponse)
	if err := proto.Unmarshal(data.Materialize(), r); err != nil {
		s.t.Errorf("what is sent can't be read: %v", err)
	}
	if !s.open[r.WatchId] || len(r.Events) == 0 {
		s.t.Errorf("sent to a watch that is not there: %v", r)
	}
	return nil
}
