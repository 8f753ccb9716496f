package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ctlplane/ctlplane/api/v3electionpb"
	"github.com/ctlplane/ctlplane/api/v3lockpb"
	"github.com/ctlplane/ctlplane/apiserver/patience"
)

// bodyTimeout bounds how long a request that is not a stream may take to arrive.
const bodyTimeout = time.Minute

// duplexPaths are the calls whose requests are streams: answers begin before the last request has come.
var duplexPaths = map[string]bool{"/v3/watch": true, "/v3/lease/keepalive": true}

// GatewayConfig says how the JSON gateway reaches the gRPC server.
type GatewayConfig struct {
	// Dial connects to the gRPC server in this process.
	Dial func(context.Context) (net.Conn, error)
	// Allow decides by the HTTP caller's own certificate, as the gRPC server does by those of its callers; nil: no
	// certificate is asked for. fullMethod is "/package.Service/Method".
	Allow func(ctx context.Context, fullMethod string) error
	// MaxMessageBytes bounds one JSON message of a request; 0 is 4 MiB.
	MaxMessageBytes int64
}

const defaultMessageBytes = 4 << 20

// Gateway translates JSON over HTTP into calls of etcd's gRPC services, and their answers back. Streams are lines of
// JSON, or messages of a WebSocket.
//
//  1. A call through the gateway is its caller's: the certificate that allows it is the one that the caller showed here. Over the
//     connection to the gRPC server none is shown, so none of the gateway's own can be mistaken for a user.
//  2. A message is bounded while it is read, not after.
type Gateway struct {
	config GatewayConfig
	mux    *runtime.ServeMux
	conn   *grpc.ClientConn
}

// NewGateway makes a gateway; Close it when no calls come any more.
func NewGateway(c GatewayConfig) (*Gateway, error) {
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = defaultMessageBytes
	}
	g := &Gateway{config: c}
	g.mux = runtime.NewServeMux(runtime.WithMarshalerOption(runtime.MIMEWildcard, boundedMarshaler{
		Marshaler: &runtime.HTTPBodyMarshaler{Marshaler: &runtime.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
			UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
		}},
		limit: c.MaxMessageBytes,
	}))
	var err error
	g.conn, err = grpc.NewClient("passthrough:///local",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.Dial(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
		grpc.WithChainUnaryInterceptor(g.unary), grpc.WithChainStreamInterceptor(g.stream),
	)
	if err != nil {
		return nil, err
	}
	for _, register := range []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
		gw.RegisterKVHandler, gw.RegisterWatchHandler, gw.RegisterLeaseHandler,
		gw.RegisterClusterHandler, gw.RegisterMaintenanceHandler, gw.RegisterAuthHandler,
		v3lockpb.RegisterLockHandler, v3electionpb.RegisterElectionHandler,
	} {
		if err := register(context.Background(), g.mux, g.conn); err != nil {
			return nil, errors.Join(err, g.conn.Close())
		}
	}
	return g, nil
}

// Close ends the connection to the gRPC server, and with it all calls.
func (g *Gateway) Close() error { return g.conn.Close() }

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = r.WithContext(withCaller(r))
	if isWebSocket(r) {
		g.serveSocket(w, r)
		return
	}
	w = &patience.Writer{ResponseWriter: w, Patience: readerPatience}
	control := http.NewResponseController(w)
	if duplexPaths[r.URL.Path] {
		if err := control.EnableFullDuplex(); err != nil {
			http.Error(w, "this connection can't carry a stream: "+err.Error(), http.StatusHTTPVersionNotSupported)
			return
		}
		g.mux.ServeHTTP(w, r)
		return
	}
	if err := g.readBody(w, r, control); err != nil {
		code := http.StatusBadRequest
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			code = http.StatusRequestEntityTooLarge
		}
		http.Error(w, "read the request: "+err.Error(), code)
		return
	}
	g.mux.ServeHTTP(w, r)
}

// readBody takes the whole request in, in bounded time: what is called afterwards, such as a lock, may take any.
func (g *Gateway) readBody(w http.ResponseWriter, r *http.Request, control *http.ResponseController) error {
	if err := control.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, g.config.MaxMessageBytes))
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return control.SetReadDeadline(time.Time{})
}

// callerKey is under which a request's context has the caller as gRPC has callers.
type callerKey struct{}

func withCaller(r *http.Request) context.Context {
	p := &peer.Peer{Addr: httpAddr(r.RemoteAddr)}
	if r.TLS != nil {
		p.AuthInfo = tlsInfo(r.TLS)
	}
	return context.WithValue(r.Context(), callerKey{}, p)
}

func tlsInfo(state *tls.ConnectionState) credentials.TLSInfo {
	return credentials.TLSInfo{State: *state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
}

// allow asks Allow for the HTTP caller of ctx.
func (g *Gateway) allow(ctx context.Context, fullMethod string) error {
	if g.config.Allow == nil {
		return nil
	}
	if p, ok := ctx.Value(callerKey{}).(*peer.Peer); ok {
		ctx = peer.NewContext(ctx, p)
	}
	return g.config.Allow(ctx, fullMethod)
}

func (g *Gateway) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if err := g.allow(ctx, method); err != nil {
		return err
	}
	return invoke(ctx, method, req, reply, conn, opts...)
}

func (g *Gateway) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := g.allow(ctx, method); err != nil {
		return nil, err
	}
	return open(ctx, desc, conn, method, opts...)
}

// httpAddr is an address as net/http has it.
type httpAddr string

func (httpAddr) Network() string  { return "tcp" }
func (a httpAddr) String() string { return string(a) }
