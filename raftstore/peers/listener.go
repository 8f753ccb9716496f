package peers

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/ctlplane/ctlplane/pki"
)

const (
	handshakeTimeout = 5 * time.Second
	// maxHandshakes bounds the callers that have not shown who they are yet.
	maxHandshakes = 256
)

// Listener serves a member's one port. It ends TLS, which checks the caller, and hands each
// connection to the listener of the protocol that was negotiated.
type Listener struct {
	listener net.Listener
	config   *tls.Config
	join     func(*tls.Conn)
	logger   *slog.Logger

	raft, grpc *connListener

	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}
	wg     sync.WaitGroup
}

// NewListener serves a port from now on; join serves connections that speak the join protocol.
func NewListener(listener net.Listener, config *tls.Config, join func(*tls.Conn), logger *slog.Logger) *Listener {
	l := &Listener{
		listener: listener, config: config, join: join, logger: logger,
		raft:  newConnListener(listener.Addr()),
		grpc:  newConnListener(listener.Addr()),
		slots: make(chan struct{}, maxHandshakes),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.accept)
	return l
}

// Raft gets the connections that speak Raft's protocol.
func (l *Listener) Raft() net.Listener { return l.raft }

// GRPC gets the connections that speak gRPC.
func (l *Listener) GRPC() net.Listener { return l.grpc }

// Close closes the port and the listeners, and returns once nothing of them runs. Connections that were
// handed out belong to whoever took them.
func (l *Listener) Close() {
	l.cancel()
	_ = l.listener.Close()
	_ = l.raft.Close()
	_ = l.grpc.Close()
	l.wg.Wait()
}

func (l *Listener) accept() {
	for {
		conn, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors, as a rule: wait for some to come free rather than spin.
			l.logger.Warn("accept a connection on the peer port", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-l.ctx.Done():
				return
			}
		}
		select {
		case l.slots <- struct{}{}:
			l.wg.Go(func() { l.serve(conn) })
		default:
			_ = conn.Close()
		}
	}
}

// serve runs the TLS handshake and passes the connection on.
func (l *Listener) serve(raw net.Conn) {
	conn := tls.Server(raw, l.config)
	ctx, cancel := context.WithTimeout(l.ctx, handshakeTimeout)
	err := boundAccepted(raw)
	if err == nil {
		err = conn.HandshakeContext(ctx)
	}
	cancel()
	<-l.slots
	if err != nil {
		level := slog.LevelWarn // in etcd's words: a certificate that doesn't fit is found by it
		if errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded) || l.ctx.Err() != nil {
			level = slog.LevelDebug // a check of the port, which says nothing
		}
		l.logger.Log(l.ctx, level, "rejected connection on peer endpoint", "remote-addr", raw.RemoteAddr().String(), "error", err)
		_ = raw.Close()
		return
	}
	switch protocol := conn.ConnectionState().NegotiatedProtocol; {
	case protocol == pki.ProtocolRaft:
		l.raft.deliver(conn)
	case protocol == pki.ProtocolGRPC:
		l.grpc.deliver(conn)
	case protocol == pki.ProtocolJoin && l.join != nil:
		stop := context.AfterFunc(l.ctx, func() { _ = conn.Close() })
		l.join(conn)
		stop()
	default:
		_ = conn.Close()
	}
}

// connListener is a net.Listener that connections are put into.
type connListener struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newConnListener(addr net.Addr) *connListener {
	return &connListener{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *connListener) deliver(conn net.Conn) {
	select {
	case l.conns <- conn:
	case <-l.done:
		_ = conn.Close()
	}
}

func (l *connListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *connListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *connListener) Addr() net.Addr { return l.addr }
