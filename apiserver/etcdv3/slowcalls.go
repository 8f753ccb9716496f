package etcdv3

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"k8s.io/utils/clock"
)

// slowCalls logs calls that took longer than they should, without what was asked: keys and values may be secrets.
type slowCalls struct {
	limit  time.Duration
	logger *slog.Logger
	clock  clock.WithTicker
}

func (s slowCalls) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	begun := s.clock.Now()
	response, err := handler(ctx, request)
	if took := s.clock.Since(begun); took > s.limit {
		s.logger.Warn("a call took too long", "method", info.FullMethod, "took", took, "expected", s.limit, "error", err)
	}
	return response, err
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
