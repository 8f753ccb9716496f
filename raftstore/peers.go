package raftstore

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/pki"
)

const (
	// connectTimeout bounds the wait for a connection to a peer, after which it counts as not reachable.
	connectTimeout = time.Second
	// maxPeerMessage bounds one message between members, which can't be larger than gRPC has room for. What a member sends
	// it bounds itself: a group of commands by MaxEntryBytes, or by MaxCommandBytes where it is one alone, and answers by
	// answerPart. Breaking the stream at a lower bound would fail all that is in flight on it.
	maxPeerMessage = math.MaxInt32
)

// peerConns are the connections to other members, one each, kept for as long as they are used.
type peerConns struct {
	security *pki.PeerSecurity
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

func newPeerConns(security *pki.PeerSecurity, address func(raft.ServerID) (raft.ServerAddress, bool)) *peerConns {
	return &peerConns{security: security, address: address, conns: map[raft.ServerID]*peerConn{}}
}

func (p *peerConns) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.conns = nil
}

// conn returns the connection to a member, made when there is none to its present address.
func (p *peerConns) conn(id raft.ServerID) (*grpc.ClientConn, error) {
	address, ok := p.address(id)
	if !ok {
		return nil, fmt.Errorf("member %s: %w", id, errUnreachable)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
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

func (p *peerConns) connect(address raft.ServerAddress) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+string(address),
		grpc.WithTransportCredentials(credentials.NewTLS(pki.PeerConfig(p.security.Client(pki.ProtocolGRPC), string(address)))),
		grpc.WithContextDialer(dialPeer(string(address))),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxPeerMessage), grpc.MaxCallSendMsgSize(maxPeerMessage)),
		grpc.WithInitialWindowSize(4<<20),
		grpc.WithInitialConnWindowSize(8<<20),
	)
}

// client returns a client over a connection that stands, so that a failure to connect is told from a
// connection that was lost in mid-request.
func (p *peerConns) client(ctx context.Context, id raft.ServerID) (peerpb.PeerClient, error) {
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
			return nil, fmt.Errorf("member %s: %w", id, errUnreachable)
		}
	}
	return peerpb.NewPeerClient(conn), nil
}

// forward opens a stream of groups to the leader.
func (p *peerConns) forward(ctx context.Context, leader raft.ServerID) (forwardStream, error) {
	client, err := p.client(ctx, leader)
	if err != nil {
		return nil, err
	}
	return client.Forward(ctx)
}

func (p *peerConns) readIndex(ctx context.Context, leader raft.ServerID, self, term uint64) (uint64, error) {
	client, err := p.client(ctx, leader)
	if err != nil {
		return 0, err
	}
	response, err := client.ReadIndex(ctx, &peerpb.ReadIndexRequest{Id: self, Term: term})
	if err != nil {
		return 0, fromStatus(err)
	}
	return response.Index, nil
}

func (p *peerConns) progress(ctx context.Context, id raft.ServerID) (*peerpb.ProgressResponse, error) {
	client, err := p.client(ctx, id)
	if err != nil {
		return nil, err
	}
	response, err := client.Progress(ctx, &peerpb.ProgressRequest{})
	if err != nil {
		return nil, err
	}
	if serverID(response.Id) != id {
		return nil, fmt.Errorf("another member, %x, answers in the place of %s", response.Id, id)
	}
	return response, nil
}

func (p *peerConns) timeToLive(ctx context.Context, leader raft.ServerID, id int64) (ttl, granted int64, err error) {
	client, err := p.client(ctx, leader)
	if err != nil {
		return 0, 0, err
	}
	response, err := client.TimeToLive(ctx, &peerpb.TimeToLiveRequest{Id: id})
	if err != nil {
		return 0, 0, fromStatus(err)
	}
	return response.Ttl, response.Granted, nil
}

func (p *peerConns) addMember(ctx context.Context, leader raft.ServerID, member NewMember) (uint64, error) {
	client, err := p.client(ctx, leader)
	if err != nil {
		return 0, err
	}
	response, err := client.AddMember(ctx, &peerpb.AddMemberRequest{
		Name: member.Name, PeerAddress: member.PeerAddress, ClientAddress: member.ClientAddress, ApiAddress: member.APIAddress,
	})
	if err != nil {
		return 0, changeError(err)
	}
	return response.Id, nil
}

func (p *peerConns) removeMember(ctx context.Context, leader raft.ServerID, id uint64) error {
	client, err := p.client(ctx, leader)
	if err != nil {
		return err
	}
	if _, err = client.RemoveMember(ctx, &peerpb.RemoveMemberRequest{Id: id}); err != nil {
		return changeError(err)
	}
	return nil
}

func (p *peerConns) reserveMember(ctx context.Context, leader raft.ServerID, peerURLs []string, learner bool) (uint64, error) {
	client, err := p.client(ctx, leader)
	if err != nil {
		return 0, err
	}
	response, err := client.ReserveMember(ctx, &peerpb.ReserveMemberRequest{PeerUrls: peerURLs, Learner: learner})
	if err != nil {
		return 0, changeError(err)
	}
	return response.Id, nil
}

func (p *peerConns) promoteMember(ctx context.Context, leader raft.ServerID, id uint64) error {
	client, err := p.client(ctx, leader)
	if err != nil {
		return err
	}
	if _, err = client.PromoteMember(ctx, &peerpb.PromoteMemberRequest{Id: id}); err != nil {
		return changeError(err)
	}
	return nil
}

func (p *peerConns) updateMember(ctx context.Context, leader raft.ServerID, id uint64, peerURLs []string) error {
	client, err := p.client(ctx, leader)
	if err != nil {
		return err
	}
	if _, err = client.UpdateMember(ctx, &peerpb.UpdateMemberRequest{Id: id, PeerUrls: peerURLs}); err != nil {
		return changeError(err)
	}
	return nil
}
