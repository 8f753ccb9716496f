// Package peers is how the members of a group reach each other.
//
// One port takes Raft's connections, gRPC's and those of machines that join (Listener). Over the first go Raft's own messages:
// Transport is Raft's transport over a Stream, with what has to be noted of answers, and kept from Raft until it is true
// (Heartbeats, Commits). Over the second members ask each other the rest (Conns). Who calls has shown a certificate of the
// group's own authority by then.
//
// All of it is safe for concurrent use, but that Workers, and so Commits.Run, are woken by one goroutine. What starts goroutines
// has a Close or a Wait that waits for them.
package peers

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore/failure"
)

const (
	// connectTimeout bounds the wait for a connection to a peer, after which it counts as not reachable.
	connectTimeout = time.Second
	// MaxMessage bounds one message between members, which can't be larger than gRPC has room for. What a member sends
	// it bounds itself: a group of commands by MaxEntryBytes, or by MaxCommandBytes where it is one alone, and answers by
	// what package propose puts into a message. Breaking the stream at a lower bound would fail all that is in flight on it.
	MaxMessage = math.MaxInt32
)

// Conns are the connections to other members, one each, kept for as long as they are used.
type Conns struct {
	security *pki.PeerSecurity
	from     netip.Addr
	// address finds a member's address.
	address func(raft.ServerID) (raft.ServerAddress, bool)

	mu     sync.Mutex
	closed bool
	conns  map[raft.ServerID]*peerConn
}

type peerConn struct {
	*grpc.ClientConn
	address raft.ServerAddress
}

// NewConns makes none yet. They go out from an address of this machine, or where that is the zero one, as the system chooses.
// address finds a member's address, and false for one that is no member.
func NewConns(security *pki.PeerSecurity, from netip.Addr, address func(raft.ServerID) (raft.ServerAddress, bool)) *Conns {
	return &Conns{security: security, from: from, address: address, conns: map[raft.ServerID]*peerConn{}}
}

// Close closes all of them, and has no more made.
func (p *Conns) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.conns = nil
}

// conn returns the connection to a member, made when there is none to its present address.
func (p *Conns) conn(id raft.ServerID) (*grpc.ClientConn, error) {
	address, ok := p.address(id)
	if !ok {
		return nil, fmt.Errorf("member %s: %w", id, failure.ErrUnreachable)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, failure.ErrClosed
	}
	if have := p.conns[id]; have != nil {
		if have.address == address {
			return have.ClientConn, nil
		}
		_ = have.Close()
	}
	conn, err := p.connect(address)
	if err != nil {
		return nil, err
	}
	for gone, have := range p.conns {
		if _, member := p.address(gone); !member {
			_ = have.Close()
			delete(p.conns, gone)
		}
	}
	p.conns[id] = &peerConn{ClientConn: conn, address: address}
	return conn, nil
}

func (p *Conns) connect(address raft.ServerAddress) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+string(address),
		grpc.WithTransportCredentials(credentials.NewTLS(pki.PeerConfig(p.security.Client(pki.ProtocolGRPC), string(address)))),
		grpc.WithContextDialer(dialMember(string(address), p.from)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithInitialWindowSize(4<<20),
		grpc.WithInitialConnWindowSize(8<<20),
	)
}

// client returns a client over a connection that is ready, so that a failure to connect is told from a
// connection that was lost in mid-request.
func (p *Conns) client(ctx context.Context, id raft.ServerID) (peerpb.PeerClient, error) {
	conn, err := p.conn(id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.Idle {
			conn.Connect()
		}
		if state == connectivity.TransientFailure || !conn.WaitForStateChange(ctx, state) {
			return nil, fmt.Errorf("member %s: %w", id, failure.ErrUnreachable)
		}
	}
	return peerpb.NewPeerClient(conn), nil
}
