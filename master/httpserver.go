package master

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ctlplane/ctlplane/supervise"
)

const (
	// idlePatience is how long a connection may stay open without a request.
	idlePatience = 2 * time.Minute
	// maxHeaderBytes bounds a request's head.
	maxHeaderBytes = 64 << 10
)

// httpServer serves HTTP/1 to clients of the store.
//
// Invariant: requests is held by every request, also by those that have taken their connection over (WebSockets), of which
// net/http knows nothing any more; wait returns after the last.
type httpServer struct {
	handler http.Handler
	logger  *slog.Logger

	mu       sync.Mutex // guards requests.Add against wait
	ended    bool
	requests sync.WaitGroup
}

func newHTTPServer(handler http.Handler, logger *slog.Logger) *httpServer {
	return &httpServer{handler: handler, logger: logger}
}

// serve answers on listener until ctx ends, which ends all requests too.
func (s *httpServer) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: headerPatience, IdleTimeout: idlePatience, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:    slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug), // strangers' mistakes
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		if server.Shutdown(patience) != nil {
			_ = server.Close() // what did not end in time is cut
		}
	})
	err := server.Serve(listener)
	if !stop() {
		<-ended
	}
	s.wait()
	if errors.Is(err, http.ErrServerClosed) || ctx.Err() != nil {
		return nil
	}
	return err
}

// ServeHTTP implements http.Handler.
func (s *httpServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		http.Error(w, "the server is stopping", http.StatusServiceUnavailable)
		return
	}
	s.requests.Add(1)
	s.mu.Unlock()
	defer s.requests.Done()
	defer func() {
		if fault := recover(); fault != nil && fault != http.ErrAbortHandler {
			_ = supervise.Caught("http", s.logger, fault)
			panic(http.ErrAbortHandler) // the answer must not look whole
		} else if fault != nil {
			panic(fault)
		}
	}()
	s.handler.ServeHTTP(w, r)
}

// wait refuses requests from now on and returns once none runs. Their context must have ended.
func (s *httpServer) wait() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.requests.Wait()
}
