// Package port lets gRPC and HTTP/1 share the client port, each with a server of its own.
//
// The two are told apart once a connection, before any server sees it: over TLS by the protocol that was negotiated (ALPN),
// in plain text by the first bytes. So is TLS from plain text, where a listener takes both. From then on nothing stands between a server and its connection but a counter, so that
// gRPC keeps its own transport, which is several times as fast as the one that goes through net/http.
package port

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// greetingTimeout bounds how long a caller may take to show what it speaks: the TLS handshake, or its first bytes.
	greetingTimeout = 10 * time.Second
	// maxGreetings bounds the callers that have not shown it yet.
	maxGreetings = 4096
	// acceptPause is the wait after a failed accept: out of file descriptors, as a rule.
	acceptPause = 100 * time.Millisecond
)

// Kind says what may be spoken at a listener.
type Kind int

// The kinds of listeners.
const (
	GRPCAndHTTP Kind = iota
	GRPCOnly
	HTTPOnly
)

// Port takes connections from listeners and hands each to the server of what it speaks: those servers accept from GRPC and
// HTTP. Its methods may be called by any goroutine.
//
// Invariants:
//  1. Accepting never waits for a caller: handshakes and first bytes are read in goroutines, of which there are at most
//     maxGreetings; callers beyond that are turned away.
//  2. A connection has one owner: the goroutine that greets it, then the server that it was handed to. Close returns after
//     the last goroutine, and leaves alone what was handed over.
type Port struct {
	logger     *slog.Logger
	traffic    Traffic
	grpc, http *connListener

	life  context.Context
	end   context.CancelFunc
	slots chan struct{}
	wg    sync.WaitGroup

	mu        sync.Mutex
	listeners []net.Listener
	closed    bool
}

// New makes a port without listeners.
func New(logger *slog.Logger) *Port {
	p := &Port{logger: logger, grpc: newConnListener(), http: newConnListener(), slots: make(chan struct{}, maxGreetings)}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

// GRPC is where the gRPC server accepts its connections; its credentials must be Credentials.
func (p *Port) GRPC() net.Listener { return p.grpc }

// HTTP is where the HTTP server accepts its connections.
func (p *Port) HTTP() net.Listener { return p.http }

// Traffic counts the bytes of gRPC connections.
func (p *Port) Traffic() *Traffic { return &p.traffic }

// Listen serves the connections that listener accepts, over TLS unless config is nil; with alsoPlain in plain text as well, as the
// caller begins. The port owns the listener from here on.
func (p *Port) Listen(listener net.Listener, config *tls.Config, alsoPlain bool, kind Kind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = listener.Close()
		return
	}
	p.listeners = append(p.listeners, listener)
	p.grpc.at(listener.Addr())
	p.http.at(listener.Addr())
	g := greeter{port: p, kind: kind, plain: config == nil || alsoPlain}
	if config != nil {
		g.tls = negotiating(config, kind)
	}
	p.wg.Go(func() { p.accept(listener, g) })
}

// Dial opens a connection to the gRPC server in this process. Calls over it have no certificate: Local tells that they come from here.
func (p *Port) Dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	if err := p.grpc.deliver(ctx, &localConn{far}); err != nil {
		_ = near.Close()
		return nil, err
	}
	return near, nil
}

// Close stops accepting and returns once nothing of the port runs.
func (p *Port) Close() {
	p.mu.Lock()
	p.closed = true
	listeners := p.listeners
	p.mu.Unlock()
	p.end()
	for _, listener := range listeners {
		_ = listener.Close()
	}
	_ = p.grpc.Close()
	_ = p.http.Close()
	p.wg.Wait()
}

func (p *Port) accept(listener net.Listener, g greeter) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) || p.life.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil {
			p.logger.Warn("accept a connection on the client port", "error", err)
			select {
			case <-time.After(acceptPause):
				continue
			case <-p.life.Done():
				return
			}
		}
		select {
		case p.slots <- struct{}{}:
			p.wg.Go(func() { p.greet(conn, g) })
		default:
			p.logger.Debug("too many callers at the client port that say nothing: one is turned away", "from", conn.RemoteAddr())
			_ = conn.Close()
		}
	}
}

// greet finds out what a caller speaks and hands it to the server of that.
func (p *Port) greet(conn net.Conn, g greeter) {
	ctx, cancel := context.WithTimeout(p.life, greetingTimeout)
	defer cancel()
	ready, to, err := g.greet(ctx, conn)
	<-p.slots
	if err != nil {
		p.refused(conn, err)
		_ = conn.Close()
		return
	}
	// The server's own accept loop takes it at once, or never.
	_ = to.deliver(p.life, ready)
}
