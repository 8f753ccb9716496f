package etcdv3

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	testclock "k8s.io/utils/clock/testing"
)

func TestSlowCallsAreLogged(t *testing.T) {
	var logged bytes.Buffer
	clock := testclock.NewFakeClock(time.Unix(0, 0))
	slow := slowCalls{limit: 300 * time.Millisecond, logger: slog.New(slog.NewTextHandler(&logged, nil)), clock: clock}
	call := func(took time.Duration) {
		ctx := peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4000}})
		request := &pb.PutRequest{Key: []byte("secret"), Value: []byte("secret")}
		_, _ = slow.unary(ctx, request, &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb.KV/Put"}, func(context.Context, any) (any, error) {
			clock.Step(took)
			return (*pb.PutResponse)(nil), context.DeadlineExceeded
		})
	}
	call(300 * time.Millisecond)
	if logged.Len() > 0 {
		t.Errorf("a call in time was logged: %s", &logged)
	}
	call(301 * time.Millisecond)
	for _, want := range []string{
		`msg="request stats"`, `"start time"=`, `"time spent"=301ms`, "remote=192.0.2.1:4000", `"response type"=/etcdserverpb.KV/Put`,
		`"request size"=16 "response size"=0 error="context deadline exceeded"`,
	} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("no %s was logged: %s", want, &logged)
		}
	}
	if strings.Contains(logged.String(), "secret") {
		t.Errorf("what was asked is logged: %s", &logged)
	}
}
