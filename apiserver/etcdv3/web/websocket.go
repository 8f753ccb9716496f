package web

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/ctlplane/ctlplane/supervise"
)

const (
	socketBuffer = 4 << 10
	// socketPatience is how long a closing message may take to be sent.
	socketPatience = time.Second
	// readerPatience is how long a message may take to be taken, once the connection is full.
	readerPatience = 30 * time.Second
)

// isWebSocket tells whether a request asks for a WebSocket.
func isWebSocket(r *http.Request) bool { return websocket.IsWebSocketUpgrade(r) }

// upgrader takes every origin: Access has looked at it already.
var upgrader = websocket.Upgrader{
	HandshakeTimeout: bodyTimeout, ReadBufferSize: socketBuffer, WriteBufferSize: socketBuffer,
	CheckOrigin: func(*http.Request) bool { return true },
}

// serveSocket carries a call over a WebSocket: each message in is a request, each message out an answer. Browsers can't set headers
// there, so a token may come as the subprotocols "Bearer, <token>", as with etcd.
func (g *Gateway) serveSocket(w http.ResponseWriter, r *http.Request) {
	var header http.Header
	token, bearer := strings.CutPrefix(r.Header.Get("Sec-WebSocket-Protocol"), "Bearer,")
	if bearer {
		header = http.Header{"Sec-WebSocket-Protocol": {"Bearer"}}
	}
	conn, err := upgrader.Upgrade(w, r, header)
	if err != nil {
		return // the caller was told
	}
	defer conn.Close()
	conn.SetReadLimit(g.config.MaxMessageBytes)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	// Nobody else closes a connection that was taken over: a reader that takes nothing would hold a server up that is to end.
	stop := context.AfterFunc(r.Context(), func() { _ = conn.NetConn().SetDeadline(time.Unix(1, 0)) })
	defer stop()
	requests, feed := io.Pipe()
	call := r.Clone(ctx)
	call.Method, call.Body, call.ContentLength = http.MethodPost, requests, -1
	if token = strings.TrimSpace(token); bearer && token != "" {
		call.Header.Set("Authorization", "Bearer "+token)
	}
	// The server stops reading the connection's end for us once it is hijacked: who reads is this goroutine, until the
	// connection is closed below.
	var reading sync.WaitGroup
	reading.Go(func() {
		defer cancel()
		feed.CloseWithError(supervise.Call("gateway", nil, func() error { return copyMessages(feed, conn) }))
	})
	g.mux.ServeHTTP(&socketWriter{conn: conn, header: http.Header{}}, call)
	_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(socketPatience))
	_ = conn.Close()
	_ = requests.Close()
	reading.Wait()
}

// copyMessages writes the messages that come to w, until the client closes the socket: then the error is io.EOF.
func copyMessages(w io.Writer, conn *websocket.Conn) error {
	for {
		_, message, err := conn.ReadMessage()
		if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway) {
			return io.EOF
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(append(message, '\n')); err != nil {
			return err
		}
	}
}

// socketWriter sends each answer as a message. One goroutine writes: the call's own.
type socketWriter struct {
	conn   *websocket.Conn
	header http.Header
}

// Header implements http.ResponseWriter; a socket has no headers any more.
func (s *socketWriter) Header() http.Header { return s.header }

// WriteHeader implements http.ResponseWriter: what went wrong stands in the message that follows.
func (s *socketWriter) WriteHeader(int) {}

// Write implements http.ResponseWriter. What only parts the messages of a stream is left out.
func (s *socketWriter) Write(p []byte) (int, error) {
	if message := bytes.TrimRight(p, "\n"); len(message) > 0 {
		if err := s.conn.SetWriteDeadline(time.Now().Add(readerPatience)); err != nil {
			return 0, err
		}
		if err := s.conn.WriteMessage(websocket.TextMessage, message); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Flush implements http.Flusher: a message is on its way once it is written.
func (s *socketWriter) Flush() {}
