package migrate

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/port"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/web"
	"github.com/ctlplane/ctlplane/master"
)

const (
	// headerPatience bounds how long a caller over HTTP may take to say what it wants.
	headerPatience = 10 * time.Second
	// drainPatience bounds how long calls that were held may take once they go on to the member.
	drainPatience = 10 * time.Second
)

// endless are the calls that have no end of their own, or wait for others.
var endless = map[string]bool{
	pb.Watch_Watch_FullMethodName:          true,
	pb.Lease_LeaseKeepAlive_FullMethodName: true,
	pb.Maintenance_Snapshot_FullMethodName: true,
	"/v3electionpb.Election/Observe":       true,
	"/v3electionpb.Election/Campaign":      true,
	"/v3lockpb.Lock/Lock":                  true,
}

// refused are the calls that would change the etcd's members, and why.
var refused = map[string]bool{
	pb.Cluster_MemberAdd_FullMethodName:     true,
	pb.Cluster_MemberRemove_FullMethodName:  true,
	pb.Cluster_MemberUpdate_FullMethodName:  true,
	pb.Cluster_MemberPromote_FullMethodName: true,
	pb.Maintenance_Downgrade_FullMethodName: true,
}

var errRefused = status.Error(codes.FailedPrecondition, "this cluster is being moved: change its members at its old endpoints, or after the move")

// front serves clients where the member will serve them, and passes their calls on.
type front struct {
	router   *router
	urls     []string // where clients reach this machine
	port     *port.Port
	server   *grpc.Server
	http     *http.Server
	gateway  *web.Gateway
	member   *grpc.ClientConn // nil before the step
	requests sync.WaitGroup   // goroutines of calls
	serving  sync.WaitGroup
}

// newFront takes the client port, and passes calls on to what source is of.
func newFront(config master.Config, source *Source) (_ *front, err error) {
	f := &front{router: newRouter(source.bare.ActiveConnection()), urls: config.ClientURLs, port: port.New(config.Logger)}
	options := append(etcdv3.ServerOptions(config.ClientServer), grpc.Creds(port.Credentials()),
		grpc.ForceServerCodecV2(frames{}), grpc.UnknownServiceHandler(f.call))
	f.server = grpc.NewServer(options...)
	if f.gateway, err = web.NewGateway(web.GatewayConfig{Dial: f.port.Dial}); err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	f.http = &http.Server{ReadHeaderTimeout: headerPatience, Handler: web.NewHandler(web.Config{
		Store: sourceHealth{source}, Gateway: f.gateway, Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		HealthMetrics: web.NewHealthMetrics(registry),
		Access:        web.Access{CORS: config.HTTP.CORS, Hosts: config.HTTP.HostWhitelist},
		Logger:        config.Logger,
	})}
	if err := config.ListenClients(f.port); err != nil {
		f.close()
		return nil, err
	}
	f.serving.Go(func() { _ = f.server.Serve(f.port.GRPC()) }) // ends when the port is closed
	f.serving.Go(func() { _ = f.http.Serve(f.port.HTTP()) })
	return f, nil
}

// call passes one call on.
func (f *front) call(_ any, stream grpc.ServerStream) error {
	method, ok := grpc.MethodFromServerStream(stream)
	if !ok {
		return status.Error(codes.Internal, "the call has no method")
	}
	c, err := f.router.enter(stream.Context(), endless[method])
	if err != nil {
		return err
	}
	defer c.leave()
	switch {
	case c.moved:
	case refused[method]:
		return errRefused
	case method == pb.Cluster_MemberList_FullMethodName:
		return f.memberList(c, stream)
	}
	return pass(c, method, stream, f.requests.Go)
}

// memberList answers with the etcd's members, at this machine's address: a client that looks for members must stay here.
func (f *front) memberList(c *call, stream grpc.ServerStream) error {
	s := &ownAddress{ServerStream: stream, urls: f.urls}
	return pass(c, pb.Cluster_MemberList_FullMethodName, s, f.requests.Go)
}

// leaveListeners lets go of the ports for the member, and keeps the connections.
func (f *front) leaveListeners() { f.port.Close() }

// drain ends the connections: calls that were held have their answers, and clients connect again.
func (f *front) drain() {
	over := time.AfterFunc(drainPatience, f.server.Stop)
	defer over.Stop()
	f.server.GracefulStop()
	f.close()
}

// close ends what is left.
func (f *front) close() {
	f.port.Close()
	_ = f.http.Close()
	_ = f.gateway.Close()
	f.server.Stop()
	f.requests.Wait()
	f.serving.Wait()
	if f.member != nil {
		_ = f.member.Close()
	}
}

// dialMember is a connection to the member in this process.
func dialMember(dial func(context.Context) (net.Conn, error)) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///member", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// sourceHealth is the etcd as health checks see it.
type sourceHealth struct{ *Source }

var _ web.Store = sourceHealth{}

// ReadState implements web.Store.
func (s sourceHealth) ReadState(ctx context.Context) error {
	_, err := s.position(ctx)
	return err
}

// LinearizableRead implements web.Store: ReadState is one.
func (sourceHealth) LinearizableRead(context.Context) error { return nil }

// HasLeader implements web.Store: a read tells.
func (sourceHealth) HasLeader() bool { return true }

// IsLearner implements web.Store.
func (sourceHealth) IsLearner() bool { return false }

// Alarms implements web.Store: those of the etcd are its own.
func (sourceHealth) Alarms() []*pb.AlarmMember { return nil }
