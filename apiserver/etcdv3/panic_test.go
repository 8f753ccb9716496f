package etcdv3

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/writepb"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/supervise"
)

// faultyBackend panics over everything that it is asked for with a key of "poison", or a lease of 13.
type faultyBackend struct{ *localBackend }

func (b faultyBackend) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	switch string(r.Key) {
	case "poison":
		panic("secret detail")
	case "contained":
		return nil, &supervise.PanicError{Where: "read", Value: "secret detail"}
	}
	return b.localBackend.Range(ctx, r)
}

func (b faultyBackend) LeaseKeepAlive(ctx context.Context, id int64) (int64, error) {
	if id == 13 {
		panic("secret detail")
	}
	return b.localBackend.LeaseKeepAlive(ctx, id)
}

func (b faultyBackend) ProposeAsync(ctx context.Context, c kv.Command, done func(kv.Result, error)) {
	if string(c.Put.GetKey()) == "poison" {
		panic("secret detail")
	}
	b.localBackend.ProposeAsync(ctx, c, done)
}

// TestPanicEndsACallAlone has calls of each kind panic, in their handlers and in goroutines that these have started.
func TestPanicEndsACallAlone(t *testing.T) {
	address := serve(t, faultyBackend{newLocalBackend(t)}, ServerConfig{}, Options{})
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	expect := func(call string, err error) {
		t.Helper()
		if s := status.Convert(err); s.Code() != codes.Internal || s.Message() != "the server met a fault of its own; its log tells more" {
			t.Errorf("%s: %v", call, err)
		}
	}
	_, err = pb.NewKVClient(conn).Range(t.Context(), &pb.RangeRequest{Key: []byte("poison")})
	expect("a range", err)
	_, err = pb.NewKVClient(conn).Range(t.Context(), &pb.RangeRequest{Key: []byte("contained")})
	expect("a range that another goroutine answers", err)

	renewals, err := pb.NewLeaseClient(conn).LeaseKeepAlive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := renewals.Send(&pb.LeaseKeepAliveRequest{ID: 13}); err != nil {
		t.Fatal(err)
	}
	_, err = renewals.Recv()
	expect("a renewal", err)

	writes, err := writepb.NewPipelineClient(conn).Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := writes.Send(&writepb.WriteBatch{Ops: []*writepb.WriteOp{{Id: 1, Key: []byte("poison")}}}); err != nil {
		t.Fatal(err)
	}
	_, err = writes.Recv()
	expect("a stream of writes", err)

	if _, err := pb.NewKVClient(conn).Range(t.Context(), &pb.RangeRequest{Key: []byte("other")}); err != nil {
		t.Errorf("the server is gone: %v", err)
	}
}
