package port

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"
)

// What is negotiated by ALPN.
const (
	protocolHTTP1 = "http/1.1"
	protocolHTTP2 = "h2"
)

// http2Preface is what every HTTP/2 client sends first; no request of HTTP/1 begins so.
const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// greeter finds out what the callers of one listener speak.
type greeter struct {
	port  *Port
	tls   *tls.Config // nil: no TLS
	plain bool        // plain text may be spoken
	kind  Kind
}

// tlsHandshake is the first byte of a TLS connection; neither HTTP/1 nor HTTP/2 begins with it.
const tlsHandshake = 0x16

// greet returns the connection as its server takes it, and the server's listener.
func (g greeter) greet(ctx context.Context, raw net.Conn) (net.Conn, *connListener, error) {
	switch {
	case !g.plain:
		return g.handshake(ctx, raw)
	case g.tls == nil && g.kind == GRPCOnly:
		return &grpcConn{Conn: raw, traffic: &g.port.traffic}, g.port.grpc, nil
	case g.tls == nil && g.kind == HTTPOnly:
		return raw, g.port.http, nil
	}
	head, isHTTP2, err := sniff(ctx, raw)
	switch {
	case err != nil:
		return nil, nil, err
	case g.tls != nil && head[0] == tlsHandshake:
		return g.handshake(ctx, &headConn{Conn: raw, head: head})
	case g.kind == GRPCOnly || g.kind == GRPCAndHTTP && isHTTP2:
		return &grpcConn{Conn: raw, head: head, traffic: &g.port.traffic}, g.port.grpc, nil
	}
	return &headConn{Conn: raw, head: head}, g.port.http, nil
}

// handshakeError is why TLS was not agreed on.
type handshakeError struct{ error }

func (e handshakeError) Unwrap() error { return e.error }

// refused tells of a connection that was not taken. Failed handshakes are told as by etcd: a certificate that doesn't fit is
// found by it. A caller that says nothing and leaves is a check of the port.
func (p *Port) refused(conn net.Conn, err error) {
	level := slog.LevelDebug
	var handshake handshakeError
	if errors.As(err, &handshake) && !errors.Is(err, io.EOF) && !errors.Is(err, context.DeadlineExceeded) && p.life.Err() == nil {
		level = slog.LevelWarn
	}
	p.logger.Log(p.life, level, "rejected connection on client endpoint", "remote-addr", conn.RemoteAddr().String(), "error", err)
}

// handshake ends TLS. HTTP/2 must be negotiated; who negotiates nothing speaks HTTP/1.
func (g greeter) handshake(ctx context.Context, raw net.Conn) (net.Conn, *connListener, error) {
	conn := tls.Server(raw, g.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, nil, handshakeError{err}
	}
	state := conn.ConnectionState()
	switch {
	case state.NegotiatedProtocol == protocolHTTP2:
		return &grpcConn{Conn: conn, secured: &state, traffic: &g.port.traffic}, g.port.grpc, nil
	case g.kind == GRPCOnly:
		return nil, nil, errors.New("only gRPC is spoken here, and the caller offers no HTTP/2")
	}
	return conn, g.port.http, nil
}

// negotiating is config with the protocols that are spoken. HTTP/1 comes first: clients of gRPC offer HTTP/2 alone, and who
// offers both is better served by net/http.
func negotiating(config *tls.Config, kind Kind) *tls.Config {
	protocols := []string{protocolHTTP1, protocolHTTP2}
	switch kind {
	case GRPCOnly:
		protocols = []string{protocolHTTP2}
	case HTTPOnly:
		protocols = []string{protocolHTTP1}
	}
	config = config.Clone()
	config.NextProtos = protocols
	if choose := config.GetConfigForClient; choose != nil {
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if chosen == nil || err != nil {
				return chosen, err
			}
			chosen = chosen.Clone()
			chosen.NextProtos = protocols
			return chosen, nil
		}
	}
	return config
}

// sniff reads the first bytes of a connection, as few as tell whether it speaks HTTP/2, and returns them.
func sniff(ctx context.Context, conn net.Conn) (head []byte, isHTTP2 bool, err error) {
	// The end of ctx ends a read that waits: the deadline for its time, the past for its being cancelled.
	deadline, _ := ctx.Deadline()
	if err := conn.SetReadDeadline(deadline); err != nil {
		return nil, false, err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	})
	head, isHTTP2, err = readPreface(conn)
	if !stop() {
		<-interrupted
		return nil, false, fmt.Errorf("read the first bytes: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the first bytes: %w", err)
	}
	return head, isHTTP2, conn.SetReadDeadline(time.Time{})
}

// readPreface reads until what was read is no beginning of the preface, or all of it.
func readPreface(conn net.Conn) (head []byte, isHTTP2 bool, err error) {
	buffer := make([]byte, len(http2Preface))
	for n := 0; n < len(buffer); {
		read, err := conn.Read(buffer[n:])
		n += read
		if !bytes.HasPrefix([]byte(http2Preface), buffer[:n]) {
			return buffer[:n], false, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
	return buffer, true, nil
}
