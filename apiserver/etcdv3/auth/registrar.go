package auth

import (
	"context"
	"slices"

	"google.golang.org/grpc"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
)

// Guard returns a registrar that adds services to srv with their RPCs guarded by the rules of this package. A rule that has
// nothing to check costs a call nothing.
func (a *Authorizer) Guard(srv grpc.ServiceRegistrar) grpc.ServiceRegistrar { return registrar{srv, a} }

// registrar is what Guard returns.
type registrar struct {
	grpc.ServiceRegistrar
	authorizer *Authorizer
}

// RegisterService implements grpc.ServiceRegistrar.
func (g registrar) RegisterService(d *grpc.ServiceDesc, impl any) {
	guarded := *d
	guarded.Methods, guarded.Streams = slices.Clone(d.Methods), slices.Clone(d.Streams)
	for i, m := range guarded.Methods {
		if r := ruleFor("/" + d.ServiceName + "/" + m.MethodName); r.check != nil {
			guarded.Methods[i].Handler = g.unary(r, m.Handler)
		}
	}
	for i, s := range guarded.Streams {
		if r := ruleFor("/" + d.ServiceName + "/" + s.StreamName); r.check != nil {
			guarded.Streams[i].Handler = g.stream(r, s.Handler)
		}
	}
	g.ServiceRegistrar.RegisterService(&guarded, impl)
}

// unary checks after the server's interceptors, which then see a refusal like any other answer.
func (g registrar) unary(r rule, handle grpc.MethodHandler) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		return handle(srv, ctx, decode, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			checked := func(ctx context.Context, req any) (any, error) {
				if err := r.check(g.authorizer, ctx, req); err != nil {
					return nil, rpcerr.ToStatus(err)
				}
				return handler(ctx, req)
			}
			if interceptor == nil {
				return checked(ctx, req)
			}
			return interceptor(ctx, req, info, checked)
		})
	}
}

func (g registrar) stream(r rule, handle grpc.StreamHandler) grpc.StreamHandler {
	return func(srv any, stream grpc.ServerStream) error {
		if err := r.check(g.authorizer, stream.Context(), nil); err != nil {
			return rpcerr.ToStatus(err)
		}
		return handle(srv, stream)
	}
}
