package etcdv3

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"k8s.io/utils/clock"
)

// slowCalls logs calls that took longer than they should, in etcd's words, by which its users find them; without what was
// asked: keys and values may be secrets.
type slowCalls struct {
	limit  time.Duration
	logger *slog.Logger
	clock  clock.WithTicker
}

func (s slowCalls) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	begun := s.clock.Now()
	response, err := handler(ctx, request)
	if took := s.clock.Since(begun); took > s.limit {
		s.logger.Warn("request stats", "start time", begun, "time spent", took, "expected", s.limit, "remote", remote(ctx),
			"response type", info.FullMethod, "request size", size(request), "response size", size(response), "error", err)
	}
	return response, err
}

// remote is where a call comes from.
func remote(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return "No remote client info."
}

// size is a message's in bytes; that of none is 0.
func size(message any) int {
	if m, ok := message.(proto.Message); ok && m != nil {
		return proto.Size(m)
	}
	return 0
}
