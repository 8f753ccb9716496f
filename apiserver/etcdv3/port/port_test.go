package port

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
)

// rig is a port with both its servers.
type rig struct {
	port    *Port
	address string
	roots   *x509.CertPool
	log     lines

	mu    sync.Mutex
	local bool
	info  credentials.AuthInfo // of the last gRPC call
}

// start serves gRPC health, and "hello" over HTTP, until the test ends.
func start(t testing.TB, secured bool, kind Kind) *rig { return startAlso(t, secured, false, kind) }

func startAlso(t testing.TB, secured, alsoPlain bool, kind Kind) *rig {
	t.Helper()
	r := &rig{log: make(lines, 100)}
	r.port = New(slog.New(slog.NewTextHandler(r.log, nil)))
	var config *tls.Config
	if secured {
		// The certificate that the standard library has for tests, of 127.0.0.1.
		donor := httptest.NewTLSServer(nil)
		donor.Close()
		config = &tls.Config{Certificates: donor.TLS.Certificates}
		r.roots = x509.NewCertPool()
		r.roots.AddCert(donor.Certificate())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = listener.Addr().String()
	calls := grpc.NewServer(grpc.Creds(Credentials()), grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.local = Local(ctx)
			if p, ok := peer.FromContext(ctx); ok {
				r.info = p.AuthInfo
			}
			return handler(ctx, req)
		}))
	healthpb.RegisterHealthServer(calls, health.NewServer())
	pages := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.WriteString(w, "hello "+req.Proto)
		})}
	var servers sync.WaitGroup
	servers.Go(func() { _ = calls.Serve(r.port.GRPC()) })
	servers.Go(func() { _ = pages.Serve(r.port.HTTP()) })
	r.port.Listen(listener, config, alsoPlain, kind)
	t.Cleanup(func() {
		r.port.Close()
		calls.Stop()
		_ = pages.Close()
		servers.Wait()
	})
	return r
}

// TestTLSAndPlainTextOnOnePort has both kinds of callers at one listener, of each kind.
func TestTLSAndPlainTextOnOnePort(t *testing.T) {
	for _, kind := range []Kind{GRPCAndHTTP, GRPCOnly, HTTPOnly} {
		r := startAlso(t, true, true, kind)
		roots := r.roots
		for _, secured := range []bool{true, false} {
			if r.roots = nil; secured {
				r.roots = roots
			}
			if err := r.call(t); (err == nil) != (kind != HTTPOnly) {
				t.Errorf("kind %d, TLS %v: gRPC: %v", kind, secured, err)
			}
			if _, tls := r.info.(credentials.TLSInfo); kind != HTTPOnly && tls != secured {
				t.Errorf("kind %d: a call over TLS (%v) is told to be %T", kind, secured, r.info)
			}
			if page, err := r.get(t); (err == nil && page == "hello HTTP/1.1") != (kind != GRPCOnly) {
				t.Errorf("kind %d, TLS %v: HTTP: %q, %v", kind, secured, page, err)
			}
		}
	}
}

// call asks for gRPC health.
func (r *rig) call(t *testing.T, options ...grpc.DialOption) error {
	t.Helper()
	secured := insecure.NewCredentials()
	if r.roots != nil {
		secured = credentials.NewTLS(&tls.Config{RootCAs: r.roots})
	}
	conn, err := grpc.NewClient(r.address, append([]grpc.DialOption{grpc.WithTransportCredentials(secured)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	return err
}

// get asks for a page, offering protocols.
func (r *rig) get(t *testing.T, protocols ...string) (string, error) {
	t.Helper()
	url, transport := "http://"+r.address, &http.Transport{}
	if r.roots != nil {
		url = "https://" + r.address
		transport.TLSClientConfig = &tls.Config{RootCAs: r.roots, NextProtos: protocols}
	}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return string(content), err
}

// lines are what was logged; what nobody takes, as while fuzzing, is dropped once they are full.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default:
	}
	return len(p), nil
}

// TestRejectedHandshakeIsLogged: a caller whose certificates don't fit is told of, in etcd's words; one that only connects isn't.
func TestRejectedHandshakeIsLogged(t *testing.T) {
	r := start(t, true, GRPCAndHTTP)
	check, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	if err := check.Close(); err != nil {
		t.Fatal(err)
	}
	r.roots = x509.NewCertPool()
	if _, err := r.get(t, "http/1.1"); err == nil {
		t.Fatal("the caller trusts a certificate that it does not know")
	}
	line := <-r.log
	for _, want := range []string{"level=WARN", `msg="rejected connection on client endpoint" remote-addr=127.0.0.1:`, "bad certificate"} {
		if !strings.Contains(line, want) {
			t.Errorf("no %q in %s", want, line)
		}
	}
	r.port.Close() // then both are done with
	select {
	case line := <-r.log:
		t.Errorf("logged too: %s", line)
	default:
	}
}

func TestBothOnOnePort(t *testing.T) {
	for name, secured := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			r := start(t, secured, GRPCAndHTTP)
			for range 2 {
				if err := r.call(t); err != nil {
					t.Errorf("gRPC: %v", err)
				}
				if got, err := r.get(t); err != nil || got != "hello HTTP/1.1" {
					t.Errorf("HTTP: %q, %v", got, err)
				}
			}
			if _, isTLS := r.info.(credentials.TLSInfo); isTLS != secured || r.local {
				t.Errorf("the call has %T, local %v", r.info, r.local)
			}
			if r.port.Traffic().Received.Load() == 0 || r.port.Traffic().Sent.Load() == 0 {
				t.Error("no bytes were counted")
			}
		})
	}
}

// TestBrowsersGetHTTP1 offers both protocols, as browsers and curl do.
func TestBrowsersGetHTTP1(t *testing.T) {
	r := start(t, true, GRPCAndHTTP)
	if got, err := r.get(t, "h2", "http/1.1"); err != nil || got != "hello HTTP/1.1" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestListenersOfOneKind(t *testing.T) {
	for name, secured := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			calls, pages := start(t, secured, GRPCOnly), start(t, secured, HTTPOnly)
			if err := calls.call(t); err != nil {
				t.Errorf("gRPC: %v", err)
			}
			if got, err := pages.get(t); err != nil || got != "hello HTTP/1.1" {
				t.Errorf("HTTP: %q, %v", got, err)
			}
			if got, err := calls.get(t); err == nil {
				t.Errorf("HTTP where only gRPC is spoken: %q", got)
			}
			if err := pages.call(t); err == nil {
				t.Error("gRPC where only HTTP is spoken")
			}
		})
	}
}

// TestProtocolOfConfigForClient has a configuration that is chosen per caller.
func TestProtocolOfConfigForClient(t *testing.T) {
	inner := &tls.Config{NextProtos: []string{"other"}}
	config := negotiating(&tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }}, GRPCAndHTTP)
	chosen, err := config.GetConfigForClient(nil)
	if err != nil || strings.Join(chosen.NextProtos, " ") != "http/1.1 h2" {
		t.Errorf("%v, %v", chosen.NextProtos, err)
	}
	if len(inner.NextProtos) != 1 {
		t.Error("the configuration that was chosen was changed")
	}
}

// TestDial calls from within the process.
func TestDial(t *testing.T) {
	r := start(t, true, GRPCAndHTTP)
	r.roots = nil // no TLS in process
	dial := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.port.Dial(ctx) })
	if err := r.call(t, dial); err != nil {
		t.Fatal(err)
	}
	if !r.local {
		t.Errorf("the call is not known to be local: %T", r.info)
	}
}

// TestSlowGreetings sends the first bytes one by one, and leaves callers hanging that hold nobody up.
func TestSlowGreetings(t *testing.T) {
	r := start(t, false, GRPCAndHTTP)
	var silent []net.Conn
	for _, beginning := range []string{"", "P", "PRI * HTTP"} {
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, beginning); err != nil {
			t.Fatal(err)
		}
		silent = append(silent, conn)
	}
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, b := range []byte("PROPFIND / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") { // begins as HTTP/2 does
		if _, err := conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(answer), "hello HTTP/1.1") {
		t.Errorf("%q, %v", answer, err)
	}
	if err := r.call(t); err != nil {
		t.Error(err)
	}
	r.port.Close() // does not wait for those that hang
	for _, conn := range silent {
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("a silent connection after the end: %v", err)
		}
	}
	if _, err := r.port.Dial(t.Context()); err == nil {
		t.Error("a closed port was dialled")
	}
}
