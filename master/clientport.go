package master

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3"
	etcdauth "github.com/ctlplane/ctlplane/apiserver/etcdv3/auth"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/port"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/web"
	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/rpc"
	"github.com/ctlplane/ctlplane/pki"
)

// clientPort serves the etcd API, the write stream and the object service over gRPC, and beside them, on the same port, what is
// asked over HTTP.
//
// It ends in the reverse order of who calls whom: the port takes nobody any more, the HTTP calls end, then the gateway,
// through which they call, and then the gRPC server.
type clientPort struct {
	port    *port.Port
	server  *grpc.Server
	objects *rpc.Service // nil on a port in plain text, where nobody can be told apart
	gateway *web.Gateway // nil where it is turned off
	http    *httpServer
	monitor *httpServer // health and metrics alone
	tls     *tls.Config // nil in plain text
	logger  *slog.Logger
}

// newClientPort makes the servers. objects is nil where there is only the store.
func (m *Master) newClientPort(objects *registry.Registry, who auth.Authenticator, metrics prometheus.Registerer, metricsHandler http.Handler) (*clientPort, error) {
	p := &clientPort{port: port.New(m.cfg.Logger), tls: m.clientTLS(), logger: m.cfg.Logger}
	config := m.cfg.ClientServer
	config.HasLeader = func() bool { return m.cluster.Member.Status().Leader != 0 }
	config.IsLearner = m.cluster.Member.IsLearner
	var byCertificate etcdv3.Allow
	if m.cfg.ClientTLS == nil && !m.cfg.KVInsecure {
		byCertificate = etcdauth.AllowByCertificate
		config.Allow = unlessLocal(byCertificate)
		config.ConnectionAge = connectionAge(m.cfg.CertLifetime)
	}
	calls := etcdv3.NewCallMetrics(metrics, m.cfg.HTTP.ExtensiveMetrics)
	options := append(calls.ServerOptions(), grpc.Creds(port.Credentials()))
	options = append(options, etcdv3.ServerOptions(config)...)
	withObjects := byCertificate != nil && objects != nil
	if withObjects {
		options = append(options, rpc.ServerOptions()...)
	}
	p.server = grpc.NewServer(options...)
	services := m.cfg.KV
	services.Logger = m.cfg.Logger
	services.AdminCertificates = byCertificate != nil
	if err := services.Validate(); err != nil {
		return nil, err
	}
	etcdv3.Register(p.server, m.cluster.Member, services)
	if withObjects {
		p.objects = rpc.Register(p.server, objects, func(ctx context.Context) (context.Context, error) {
			user, err := auth.Call(ctx, who)
			if err != nil {
				return ctx, err
			}
			return auth.WithUser(ctx, user), nil
		}, m.cfg.Logger)
	}
	if err := etcdauth.CheckRules(p.server); err != nil {
		return nil, err
	}
	calls.Count(p.server)
	countTraffic(metrics, p.port.Traffic())
	served := m.webConfig(metrics, metricsHandler)
	if !m.cfg.HTTP.NoGateway {
		var err error
		if p.gateway, err = web.NewGateway(web.GatewayConfig{Dial: p.port.Dial, Allow: byCertificate}); err != nil {
			return nil, err
		}
		served.Gateway = p.gateway
	}
	p.http = newHTTPServer(web.NewHandler(served), m.cfg.Logger)
	p.monitor = newHTTPServer(web.NewMonitoringHandler(served), m.cfg.Logger)
	return p, nil
}

// clientTLS is the client port's, where it is not in plain text.
func (m *Master) clientTLS() *tls.Config {
	if m.cfg.ClientTLS != nil || m.cfg.KVInsecure {
		return m.cfg.ClientTLS
	}
	return pki.Server(m.certs.server, m.cluster.CA, tls.RequireAndVerifyClientCert)
}

// unlessLocal lets calls of this process through: the gateway has asked allow for their caller already.
func unlessLocal(allow etcdv3.Allow) etcdv3.Allow {
	return func(ctx context.Context, fullMethod string) error {
		if port.Local(ctx) {
			return nil
		}
		return allow(ctx, fullMethod)
	}
}

// serve answers on all listeners until ctx ends.
func (p *clientPort) serve(ctx context.Context, listeners []boundListener) error {
	if err := serveOn(p.port, listeners, p.tls); err != nil {
		p.port.Close()
		return err
	}
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return p.http.serve(ctx, p.port.HTTP()) })
	parts.Go(func() error {
		if err := p.server.Serve(p.port.GRPC()); err != nil && !errors.Is(err, grpc.ErrServerStopped) && ctx.Err() == nil {
			return err
		}
		return nil
	})
	parts.Go(func() error {
		<-ctx.Done()
		p.stop()
		return nil
	})
	return parts.Wait()
}

// serveMonitoring answers on listeners for monitoring alone until ctx ends.
func (p *clientPort) serveMonitoring(ctx context.Context, listeners []boundListener) error {
	monitoring := port.New(p.logger)
	defer monitoring.Close()
	for i := range listeners {
		listeners[i].Kind = port.HTTPOnly
	}
	if err := serveOn(monitoring, listeners, p.tls); err != nil {
		return err
	}
	return p.monitor.serve(ctx, monitoring.HTTP())
}

func (p *clientPort) stop() {
	p.port.Close()
	p.http.wait()
	if p.gateway != nil {
		_ = p.gateway.Close() // its calls have ended
	}
	if p.objects != nil {
		p.objects.Close()
	}
	p.server.Stop() // streams have no end of their own; unary calls end as of unknown outcome
}
