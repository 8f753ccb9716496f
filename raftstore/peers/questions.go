package peers

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/propose"
)

// Health is what a member answers about its disk, and how far it has come.
type Health = peerpb.HealthResponse

// RenewalStream is a stream of renewals to the leader.
type RenewalStream = grpc.BidiStreamingClient[peerpb.RenewRequest, peerpb.RenewResponse]

// Forward opens a stream of groups to the leader.
func (p *Conns) Forward(ctx context.Context, leader raft.ServerID) (propose.Stream, error) {
	client, err := p.client(ctx, leader)
	if err != nil {
		return nil, err
	}
	return client.Forward(ctx)
}

// ReadIndex asks the leader for an index to read at, in the name of a member in a term. A follower asks so, and votes by it.
func (p *Conns) ReadIndex(ctx context.Context, leader raft.ServerID, self, term uint64) (uint64, error) {
	client, err := p.client(ctx, leader)
	if err != nil {
		return 0, err
	}
	response, err := client.ReadIndex(ctx, &peerpb.ReadIndexRequest{Id: self, Term: term})
	if err != nil {
		return 0, failure.FromStatus(err)
	}
	return response.Index, nil
}

// Progress asks a member how far it has come.
func (p *Conns) Progress(ctx context.Context, id raft.ServerID) (*peerpb.ProgressResponse, error) {
	client, err := p.client(ctx, id)
	if err != nil {
		return nil, err
	}
	response, err := client.Progress(ctx, &peerpb.ProgressRequest{})
	if err != nil {
		return nil, err
	}
	if membership.ServerID(response.Id) != id {
		return nil, fmt.Errorf("another member, %x, answers in the place of %s", response.Id, id)
	}
	return response, nil
}

// TimeToLive asks the leader how long a lease has left, and what it was granted.
func (p *Conns) TimeToLive(ctx context.Context, leader raft.ServerID, id int64) (ttl, granted int64, err error) {
	client, err := p.client(ctx, leader)
	if err != nil {
		return 0, 0, err
	}
	response, err := client.TimeToLive(ctx, &peerpb.TimeToLiveRequest{Id: id})
	if err != nil {
		return 0, 0, failure.FromStatus(err)
	}
	return response.Ttl, response.Granted, nil
}

// AddMember asks the leader to make a machine a member, and returns its id.
func (p *Conns) AddMember(ctx context.Context, leader raft.ServerID, member *peerpb.AddMemberRequest) (uint64, error) {
	client, err := p.client(ctx, leader)
	if err != nil {
		return 0, err
	}
	response, err := client.AddMember(ctx, member)
	if err != nil {
		return 0, failure.OfChange(err)
	}
	return response.Id, nil
}

// RemoveMember asks the leader to remove a member.
func (p *Conns) RemoveMember(ctx context.Context, leader raft.ServerID, id uint64) error {
	client, err := p.client(ctx, leader)
	if err != nil {
		return err
	}
	if _, err = client.RemoveMember(ctx, &peerpb.RemoveMemberRequest{Id: id}); err != nil {
		return failure.OfChange(err)
	}
	return nil
}

// ReserveMember asks the leader to add a member that is not started yet.
func (p *Conns) ReserveMember(ctx context.Context, leader raft.ServerID, peerURLs []string, learner bool) (uint64, error) {
	client, err := p.client(ctx, leader)
	if err != nil {
		return 0, err
	}
	response, err := client.ReserveMember(ctx, &peerpb.ReserveMemberRequest{PeerUrls: peerURLs, Learner: learner})
	if err != nil {
		return 0, failure.OfChange(err)
	}
	return response.Id, nil
}

// PromoteMember asks the leader to give a learner its vote.
func (p *Conns) PromoteMember(ctx context.Context, leader raft.ServerID, id uint64) error {
	client, err := p.client(ctx, leader)
	if err != nil {
		return err
	}
	if _, err = client.PromoteMember(ctx, &peerpb.PromoteMemberRequest{Id: id}); err != nil {
		return failure.OfChange(err)
	}
	return nil
}

// UpdateMember asks the leader to change where a member is reached.
func (p *Conns) UpdateMember(ctx context.Context, leader raft.ServerID, id uint64, peerURLs []string) error {
	client, err := p.client(ctx, leader)
	if err != nil {
		return err
	}
	if _, err = client.UpdateMember(ctx, &peerpb.UpdateMemberRequest{Id: id, PeerUrls: peerURLs}); err != nil {
		return failure.OfChange(err)
	}
	return nil
}

// HashKV asks another member, which answers once it has applied the entry at index.
func (p *Conns) HashKV(ctx context.Context, id raft.ServerID, revision int64, index uint64) (kv.Hash, error) {
	client, err := p.client(ctx, id)
	if err != nil {
		return kv.Hash{}, err
	}
	response, err := client.HashKV(ctx, &peerpb.HashKVRequest{Revision: revision, AppliedIndex: index})
	if err != nil {
		return kv.Hash{}, failure.FromStatus(err)
	}
	if membership.ServerID(response.Id) != id {
		return kv.Hash{}, failure.ErrUnreachable // another member has its address
	}
	if response.Error != 0 {
		return kv.Hash{}, kv.ErrorCode(response.Error)
	}
	return kv.Hash{Sum: response.Hash, Revision: response.Revision, CompactRevision: response.CompactRevision}, nil
}

// liveness returns a client over a connection that is ready.
func (p *Conns) liveness(ctx context.Context, id raft.ServerID) (peerpb.LivenessClient, error) {
	if _, err := p.client(ctx, id); err != nil { // waits for the connection
		return nil, err
	}
	conn, err := p.conn(id)
	if err != nil {
		return nil, err
	}
	return peerpb.NewLivenessClient(conn), nil
}

// Health asks a member whether its disk works, and how far it has come.
func (p *Conns) Health(ctx context.Context, id raft.ServerID) (*Health, error) {
	client, err := p.liveness(ctx, id)
	if err != nil {
		return nil, err
	}
	response, err := client.Health(ctx, &peerpb.HealthRequest{})
	if status.Code(err) == codes.Unimplemented { // an earlier version, which knows nothing of its disk
		progress, err := p.Progress(ctx, id)
		if err != nil {
			return nil, err
		}
		return &Health{Id: progress.Id, LastIndex: progress.LastIndex, AppliedIndex: progress.AppliedIndex}, nil
	}
	if err == nil && membership.ServerID(response.Id) != id {
		return nil, fmt.Errorf("another member, %x, answers in the place of %s", response.Id, id)
	}
	return response, err
}

// LeaderGone asks another voter for its agreement; nil: it doesn't answer, and so doesn't agree.
func (p *Conns) LeaderGone(ctx context.Context, id raft.ServerID, request *peerpb.LeaderGoneRequest) *peerpb.LeaderGoneResponse {
	client, err := p.liveness(ctx, id)
	if err != nil {
		return nil
	}
	response, err := client.LeaderGone(ctx, request)
	if err != nil {
		return nil
	}
	return response
}

// Removed asks another member of the cluster whether this one was removed.
func (p *Conns) Removed(ctx context.Context, id raft.ServerID, self *peerpb.RemovedRequest) bool {
	client, err := p.liveness(ctx, id)
	if err != nil {
		return false
	}
	response, err := client.Removed(ctx, self)
	return err == nil && response.Removed
}

// Misses asks a member whether it is certain that it does not reach another one. A member that does not answer, or is of an
// earlier version, is not.
func (p *Conns) Misses(ctx context.Context, id raft.ServerID, other uint64) bool {
	client, err := p.liveness(ctx, id)
	if err != nil {
		return false
	}
	response, err := client.Reaches(ctx, &peerpb.ReachesRequest{Id: other})
	return err == nil && !response.Reached
}

// Renew opens a stream of renewals to the leader.
func (p *Conns) Renew(ctx context.Context, leader raft.ServerID) (RenewalStream, error) {
	if _, err := p.client(ctx, leader); err != nil { // waits for the connection
		return nil, err
	}
	conn, err := p.conn(leader)
	if err != nil {
		return nil, err
	}
	return peerpb.NewLeasesClient(conn).Renew(ctx)
}
