package master

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/ctlplane/ctlplane/pki"
)

const (
	// headerPatience bounds how long a caller may take to say what it wants.
	headerPatience = 10 * time.Second
	// pingAfter is how long nothing may come over a connection of HTTP/2 before the client is asked whether it is still there;
	// pingPatience is how long it may take to answer.
	pingAfter    = 30 * time.Second
	pingPatience = 15 * time.Second
	// stopPatience is how long requests may go on once the master is told to end.
	stopPatience = 2 * time.Second
)

// serveAPI serves the Kubernetes API on listener until ctx ends, and beside it what lets nodes in and keeps them in.
func serveAPI(ctx context.Context, listener net.Listener, source *pki.Source, ca *pki.CA, handler http.Handler, join *pki.JoinServer, log *slog.Logger) error {
	server := &http.Server{
		Handler:           renewingConnections(handler),
		ReadHeaderTimeout: headerPatience,
		IdleTimeout:       idlePatience,
		// Of a client that is gone nothing comes, not even an end: its connection would stay, and with it its watches.
		HTTP2:    &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingPatience},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // strangers' handshakes that failed
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){
			pki.ProtocolJoin: func(_ *http.Server, conn *tls.Conn, _ http.Handler) { join.Serve(ctx, conn) },
			pki.ProtocolNode: func(_ *http.Server, conn *tls.Conn, _ http.Handler) { join.ServeNode(ctx, conn) },
		},
		TLSConfig: pki.WithEnrolment(pki.Server(source, ca, tls.VerifyClientCertIfGiven, pki.ProtocolGRPC, "http/1.1")),
		// Requests end with the master: watches have no end of their own.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		if server.Shutdown(patience) != nil {
			_ = server.Close() // what did not end in time is cut
		}
	})
	err := server.ServeTLS(listener, "", "")
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
