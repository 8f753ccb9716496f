package etcdv3

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	testclock "k8s.io/utils/clock/testing"
)

func TestSlowCallsAreLogged(t *testing.T) {
	var logged bytes.Buffer
	clock := testclock.NewFakeClock(time.Unix(0, 0))
	slow := slowCalls{limit: 300 * time.Millisecond, logger: slog.New(slog.NewTextHandler(&logged, nil)), clock: clock}
	call := func(took time.Duration) {
		_, _ = slow.unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/etcdserverpb.KV/Put"}, func(context.Context, any) (any, error) {
			clock.Step(took)
			return nil, nil
		})
	}
	call(300 * time.Millisecond)
	if logged.Len() > 0 {
		t.Errorf("a call in time was logged: %s", &logged)
	}
	call(301 * time.Millisecond)
	if !strings.Contains(logged.String(), "/etcdserverpb.KV/Put") {
		t.Errorf("a slow call was not logged: %q", &logged)
	}
}
