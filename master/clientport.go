package master

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3"
	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/rpc"
	"github.com/ctlplane/ctlplane/pki"
)

// clientPort serves the etcd API, the write stream and the object service.
type clientPort struct {
	server  *grpc.Server
	objects *rpc.Service // nil on a port in plain text, where nobody can be told apart
}

// newClientPort makes the server. objects is nil where there is only the store.
func (m *Master) newClientPort(objects *registry.Registry, who auth.Authenticator) *clientPort {
	config := etcdv3.ServerConfig{HasLeader: func() bool { return m.cluster.Member.Status().Leader != 0 }}
	var options []grpc.ServerOption
	switch {
	case m.cfg.ClientTLS != nil:
		options = append(options, grpc.Creds(credentials.NewTLS(m.cfg.ClientTLS)))
	case !m.cfg.KVInsecure:
		config.Allow = etcdv3.AllowByCertificate
		secured := pki.Server(m.source, m.cluster.CA, tls.RequireAndVerifyClientCert, pki.ProtocolGRPC)
		options = append(options, grpc.Creds(credentials.NewTLS(secured)))
	}
	p := &clientPort{server: grpc.NewServer(append(options, etcdv3.ServerOptions(config)...)...)}
	etcdv3.Register(p.server, m.cluster.Member, etcdv3.Options{Logger: m.cfg.Logger})
	if config.Allow != nil && objects != nil {
		p.objects = rpc.Register(p.server, objects, func(ctx context.Context) (context.Context, error) {
			user, err := auth.Call(ctx, who)
			if err != nil {
				return ctx, err
			}
			return auth.WithUser(ctx, user), nil
		}, m.cfg.Logger)
	}
	return p
}

// serve answers on listener until ctx ends.
func (p *clientPort) serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		if p.objects != nil {
			p.objects.Close()
		}
		p.server.Stop() // streams have no end of their own; unary calls end as of unknown outcome
	})
	defer stop()
	if err := p.server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}
