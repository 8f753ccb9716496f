package raftstore

import (
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/pki"
)

// raftStream is how Raft's transport reaches other members, and is reached by them. It knows all
// connections that are open, for the transport does not close those that are in use.
type raftStream struct {
	*connListener
	advertised net.Addr
	dial       *tls.Config
	dialer     net.Dialer
	// dialTimeout bounds the making of a connection, TLS included. Raft's timeout is for a request, which may be large.
	dialTimeout time.Duration
	// broken has a token when a connection from another member has ended.
	broken chan struct{}
	// bytesOf counts the bytes of a connection, dialled or, without an address, accepted; nil: nobody counts.
	bytesOf func(conn net.Conn, dialled raft.ServerAddress) peerBytes

	mu     sync.Mutex
	conns  map[*raftConn]struct{}
	closed bool
}

func newRaftStream(listener *connListener, advertised string, dial *tls.Config) *raftStream {
	return &raftStream{connListener: listener, advertised: advertisedAddr(advertised), dial: dial,
		broken: make(chan struct{}, 1), conns: map[*raftConn]struct{}{}}
}

// Dial implements raft.StreamLayer.
func (s *raftStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	dialer := s.dialer
	dialer.Timeout = min(timeout, s.dialTimeout)
	network, at := pki.PeerNetwork(string(address))
	conn, err := tls.DialWithDialer(&dialer, network, at, pki.PeerConfig(s.dial, string(address)))
	if err != nil {
		return nil, err
	}
	return s.track(conn, address)
}

// Accept implements net.Listener.
func (s *raftStream) Accept() (net.Conn, error) {
	conn, err := s.connListener.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(conn, "")
}

// Addr is where other members reach this one, which is not always what the port is bound to.
func (s *raftStream) Addr() net.Addr { return s.advertised }

// track keeps account of a connection; one without an address was accepted.
func (s *raftStream) track(conn net.Conn, dialled raft.ServerAddress) (net.Conn, error) {
	tracked := &raftConn{Conn: conn, stream: s, accepted: dialled == ""}
	if s.bytesOf != nil {
		tracked.bytes = s.bytesOf(conn, dialled)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	s.conns[tracked] = struct{}{}
	return tracked, nil
}

// closeConns closes every connection, and refuses others.
func (s *raftStream) closeConns() {
	s.mu.Lock()
	s.closed = true
	conns := s.conns
	s.conns = map[*raftConn]struct{}{}
	s.mu.Unlock()
	for conn := range conns {
		_ = conn.Conn.Close()
	}
}

type raftConn struct {
	net.Conn
	stream   *raftStream
	accepted bool
	bytes    peerBytes
}

func (c *raftConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.bytes.wrote(n)
	return n, err
}

func (c *raftConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.read(n)
	if err != nil && c.accepted {
		select {
		case c.stream.broken <- struct{}{}:
		default:
		}
	}
	return n, err
}

func (c *raftConn) Close() error {
	c.stream.mu.Lock()
	delete(c.stream.conns, c)
	c.stream.mu.Unlock()
	return c.Conn.Close()
}

// advertisedAddr is an address as it was given: it may hold a host name.
type advertisedAddr string

func (advertisedAddr) Network() string  { return "tcp" }
func (a advertisedAddr) String() string { return string(a) }
