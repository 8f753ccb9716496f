package supervise

import (
	"context"
	"errors"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ServerOptions contain the panics of a gRPC server's calls, which would end the process: the call ends with code Internal. They come
// before others that have interceptors, whose panics are contained as well.
func ServerOptions(where string, logger *slog.Logger) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
			err = Call(where, logger, func() (err error) {
				response, err = handler(ctx, request)
				return err
			})
			return response, GRPCError(err)
		}),
		grpc.ChainStreamInterceptor(func(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			return GRPCError(Call(where, logger, func() error { return handler(service, stream) }))
		}),
	}
}

// GRPCError is err as a client may see it: of a panic, only that there was one.
func GRPCError(err error) error {
	if fault := new(PanicError); errors.As(err, &fault) {
		return fault.GRPCStatus().Err()
	}
	return err
}

// GRPCStatus is what clients see of a panic that was contained outside of their call: as much as of one in it.
func (e *PanicError) GRPCStatus() *status.Status {
	return status.New(codes.Internal, "the server met a fault of its own; its log tells more")
}
