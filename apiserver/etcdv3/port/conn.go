package port

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
)

// Traffic counts bytes.
type Traffic struct{ Received, Sent atomic.Uint64 }

// grpcConn is a connection that the gRPC server takes: what was read of it already comes first, and its bytes are counted
// as they cross the socket, inside TLS.
type grpcConn struct {
	net.Conn
	head    []byte
	secured *tls.ConnectionState // nil in plain text
	traffic *Traffic
}

// Read implements net.Conn.
func (c *grpcConn) Read(p []byte) (n int, err error) {
	if len(c.head) > 0 {
		n = copy(p, c.head)
		c.head = c.head[n:]
	} else {
		n, err = c.Conn.Read(p)
	}
	c.traffic.Received.Add(uint64(n))
	return n, err
}

// Write implements net.Conn.
func (c *grpcConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.traffic.Sent.Add(uint64(n))
	return n, err
}

// headConn is a connection of which the first bytes were read already.
type headConn struct {
	net.Conn
	head []byte
}

// Read implements net.Conn.
func (c *headConn) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// localConn is a connection from this process.
type localConn struct{ net.Conn }

// connListener is a net.Listener that connections are put into.
type connListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  atomic.Pointer[net.Addr]
}

func newConnListener() *connListener {
	return &connListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// at sets the listener's address, unless it has one.
func (l *connListener) at(addr net.Addr) { l.addr.CompareAndSwap(nil, &addr) }

// deliver hands conn to who accepts, or closes it when nobody does any more.
func (l *connListener) deliver(ctx context.Context, conn net.Conn) error {
	err := net.ErrClosed
	select {
	case l.conns <- conn:
		return nil
	case <-l.done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	_ = conn.Close()
	return err
}

// Accept implements net.Listener.
func (l *connListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *connListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener: the address of the port's first listener.
func (l *connListener) Addr() net.Addr {
	if addr := l.addr.Load(); addr != nil {
		return *addr
	}
	return localAddr{}
}

// localAddr is the address of a port without listeners.
type localAddr struct{}

func (localAddr) Network() string { return "local" }
func (localAddr) String() string  { return "local" }
