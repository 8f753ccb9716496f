package differential

import (
	"context"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// progressPause is between two questions for progress: etcd does not answer while a watch is catching up.
const progressPause = 20 * time.Millisecond

// watched is one watch on both systems.
type watched struct {
	request      *pb.WatchCreateRequest
	theirs, ours *watcher
}

func (p pair) watch(ctx context.Context, t fataler, request *pb.WatchCreateRequest) *watched {
	t.Helper()
	return &watched{request, p.theirs.open(ctx, t, request), p.ours.open(ctx, t, request)}
}

// compare fails unless both watches had the same events up to a revision. What a change replaced is not compared where
// history was compacted: it is read when the event is sent, which may be after that.
func (w *watched) compare(t fataler, last int64, compacted bool) {
	t.Helper()
	if w.request.StartRevision > last { // nothing happens, and nobody says so
		w.theirs.end()
		w.ours.end()
		return
	}
	want, got := w.theirs.all(t, last, compacted), w.ours.all(t, last, compacted)
	if want != got {
		t.Fatalf("watch {%s} to revision %d\n    etcd:\n%s\nctlplane:\n%s", prototext.MarshalOptions{}.Format(w.request), last, want, got)
	}
}

type watcher struct {
	system    string
	stream    pb.Watch_WatchClient
	cancel    context.CancelFunc
	responses chan *pb.WatchResponse // closed at the end of the stream
}

// open returns once the watch is created, or refused.
func (s *system) open(ctx context.Context, t fataler, request *pb.WatchCreateRequest) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	stream, err := s.watch.Watch(ctx)
	if err == nil {
		err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: proto.CloneOf(request)}})
	}
	if err != nil {
		cancel()
		t.Fatalf("%s: open a watch: %v", s.name, err)
	}
	w := &watcher{system: s.name, stream: stream, cancel: cancel, responses: make(chan *pb.WatchResponse, 1000)}
	created, err := stream.Recv()
	if err != nil {
		cancel()
		t.Fatalf("%s: create a watch: %v", s.name, err)
	}
	w.responses <- created
	go func() {
		defer close(w.responses)
		for {
			response, err := stream.Recv()
			if err != nil {
				return
			}
			w.responses <- response
		}
	}()
	return w
}

// all ends the watch once it has come to a revision, and returns what it saw, a line each.
func (w *watcher) all(t fataler, last int64, compacted bool) string {
	t.Helper()
	defer w.end()
	var seen strings.Builder
	deadline := time.After(patience)
	ask := time.NewTicker(progressPause)
	defer ask.Stop()
	for {
		select {
		case r, ok := <-w.responses:
			if !ok {
				return seen.String() + "the stream ended\n"
			}
			describe(&seen, r, compacted)
			if r.Canceled || (len(r.Events) == 0 && !r.Created && r.Header.Revision >= last) {
				return seen.String()
			}
		case <-ask.C:
			// An error ends the stream, which is seen as well.
			_ = w.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
		case <-deadline:
			t.Fatalf("%s: the watch does not come to revision %d; it saw:\n%s", w.system, last, seen.String())
		}
	}
}

func (w *watcher) end() {
	w.cancel()
	for range w.responses { // to its end
	}
}

// describe leaves out how events are spread over messages.
func describe(b *strings.Builder, r *pb.WatchResponse, compacted bool) {
	if r.Created {
		fmt.Fprintf(b, "created %d\n", r.WatchId)
	}
	for _, e := range r.Events {
		fmt.Fprintf(b, "%v %s", e.Type, keyValue(e.Kv))
		if e.PrevKv != nil && !compacted {
			fmt.Fprintf(b, " before: %s", keyValue(e.PrevKv))
		}
		b.WriteByte('\n')
	}
	if r.Canceled {
		fmt.Fprintf(b, "canceled %d: %q, compacted at %d\n", r.WatchId, r.CancelReason, r.CompactRevision)
	}
}

func keyValue(kv *mvccpb.KeyValue) string {
	return fmt.Sprintf("%q=%q created %d modified %d version %d lease %d", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease)
}
