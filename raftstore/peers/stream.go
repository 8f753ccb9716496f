package peers

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/pki"
)

// Stream is how Raft's transport reaches other members, and is reached by them. It knows all
// connections that are open, for the transport does not close those that are in use.
type Stream struct {
	net.Listener
	options    StreamOptions
	advertised net.Addr
	// broken has a token when a connection from another member has ended.
	broken chan struct{}

	mu     sync.Mutex
	conns  map[*raftConn]struct{}
	closed bool
}

// StreamOptions are all required, but for From, Control and BytesOf.
type StreamOptions struct {
	// Listener gets the connections of other members, who reach it at the advertised address.
	Listener   net.Listener
	Advertised string
	TLS        *tls.Config // to dial with
	// DialTimeout, and a second, bound the making of a connection, TLS included: Raft's own timeout is for a request, which
	// may be large.
	DialTimeout time.Duration
	From        netip.Addr // the address of this machine to dial from; the zero one: the system chooses
	// Control comes before a connection is dialled (see net.Dialer).
	Control func(network, address string, conn syscall.RawConn) error
	// BytesOf counts the bytes of a connection, dialled or, without an address, accepted; nil: nobody counts.
	BytesOf func(conn net.Conn, dialled raft.ServerAddress) Bytes
}

// NewStream takes what comes over the listener, and dials.
func NewStream(options StreamOptions) *Stream {
	return &Stream{Listener: options.Listener, options: options, advertised: advertisedAddr(options.Advertised),
		broken: make(chan struct{}, 1), conns: map[*raftConn]struct{}{}}
}

// BrokenConn has a token when a connection from another member has ended.
func (s *Stream) BrokenConn() <-chan struct{} { return s.broken }

// Dial implements raft.StreamLayer.
func (s *Stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	network, at := pki.PeerNetwork(string(address))
	dialer := Dialer(network, s.options.From, s.options.Control)
	dialer.Timeout = min(timeout, connectTimeout+s.options.DialTimeout)
	conn, err := tls.DialWithDialer(&dialer, network, at, pki.PeerConfig(s.options.TLS, string(address)))
	if err != nil {
		return nil, err
	}
	return s.track(conn, address)
}

// Accept implements net.Listener.
func (s *Stream) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(conn, "")
}

// Addr is where other members reach this one, which is not always what the port is bound to.
func (s *Stream) Addr() net.Addr { return s.advertised }

// track keeps account of a connection; one without an address was accepted.
func (s *Stream) track(conn net.Conn, dialled raft.ServerAddress) (net.Conn, error) {
	tracked := &raftConn{Conn: conn, stream: s, dialled: dialled}
	if s.options.BytesOf != nil {
		tracked.bytes = s.options.BytesOf(conn, dialled)
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

// OpenConn is a connection with another member.
type OpenConn struct {
	net.Conn
	Dialled raft.ServerAddress // empty: it was accepted
}

// OpenConns are all that are open now. They are not the caller's to use.
func (s *Stream) OpenConns() []OpenConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := make([]OpenConn, 0, len(s.conns))
	for conn := range s.conns {
		open = append(open, OpenConn{conn.Conn, conn.dialled})
	}
	return open
}

// CloseConns closes every connection, and refuses others.
func (s *Stream) CloseConns() {
	s.mu.Lock()
	s.closed = true
	conns := s.conns
	s.conns = map[*raftConn]struct{}{}
	s.mu.Unlock()
	for conn := range conns {
		_ = conn.Conn.Close()
	}
}

// Reopen takes connections again.
func (s *Stream) Reopen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = false
}

// IsClosed tells whether connections are refused.
func (s *Stream) IsClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// BreakConnsTo closes the connections that were dialled to an address.
func (s *Stream) BreakConnsTo(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		if conn.RemoteAddr().String() == address {
			_ = conn.Conn.Close()
		}
	}
}

type raftConn struct {
	net.Conn
	stream  *Stream
	dialled raft.ServerAddress // empty: it was accepted
	bytes   Bytes
}

func (c *raftConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.bytes.wrote(n)
	return n, err
}

func (c *raftConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.read(n)
	if err != nil && c.dialled == "" {
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
