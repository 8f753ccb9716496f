package raftstore

import (
	"context"

	"google.golang.org/grpc"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/propose"
)

// peerServer answers other members. The port let in nobody else.
type peerServer struct {
	peerpb.UnimplementedPeerServer
	member *Member
}

// Forward implements peerpb.PeerServer.
func (s *peerServer) Forward(stream grpc.BidiStreamingServer[peerpb.ForwardRequest, peerpb.ForwardResponse]) error {
	m := s.member
	return propose.Serve(stream, m.config.Logger, func(ctx context.Context, command kv.Command, encoded []byte, done func(kv.Result, error)) {
		m.enqueue(ctx, command, encoded, true, done)
	})
}

// ReadIndex implements peerpb.PeerServer.
func (s *peerServer) ReadIndex(ctx context.Context, r *peerpb.ReadIndexRequest) (*peerpb.ReadIndexResponse, error) {
	if index, ok := s.member.witnessedIndex(r.Id, r.Term); ok {
		return &peerpb.ReadIndexResponse{Index: index}, nil
	}
	index, err := s.member.leaderRounds.Join(ctx)
	if err != nil {
		return nil, failure.ToStatus(err)
	}
	return &peerpb.ReadIndexResponse{Index: index}, nil
}

// TimeToLive implements peerpb.PeerServer.
func (s *peerServer) TimeToLive(ctx context.Context, request *peerpb.TimeToLiveRequest) (*peerpb.TimeToLiveResponse, error) {
	ttl, granted, err := s.member.remainingHere(ctx, request.Id)
	if err != nil {
		return nil, failure.ToStatus(err)
	}
	return &peerpb.TimeToLiveResponse{Ttl: ttl, Granted: granted}, nil
}

// Progress implements peerpb.PeerServer.
func (s *peerServer) Progress(context.Context, *peerpb.ProgressRequest) (*peerpb.ProgressResponse, error) {
	return &peerpb.ProgressResponse{
		Id:           s.member.config.Identity.MemberID,
		LastIndex:    s.member.raft.LastIndex(),
		AppliedIndex: s.member.machine.Store().AppliedIndex(),
	}, nil
}

// AddMember implements peerpb.PeerServer.
func (s *peerServer) AddMember(ctx context.Context, r *peerpb.AddMemberRequest) (*peerpb.AddMemberResponse, error) {
	id, err := s.member.addHere(ctx, NewMember{
		Name: r.Name, PeerAddress: r.PeerAddress, ClientAddress: r.ClientAddress, APIAddress: r.ApiAddress,
	})
	if err != nil {
		return nil, failure.ToStatus(err)
	}
	return &peerpb.AddMemberResponse{Id: id}, nil
}

// RemoveMember implements peerpb.PeerServer.
func (s *peerServer) RemoveMember(ctx context.Context, r *peerpb.RemoveMemberRequest) (*peerpb.RemoveMemberResponse, error) {
	if err := s.member.removeHere(ctx, r.Id); err != nil {
		return nil, failure.ToStatus(err)
	}
	return &peerpb.RemoveMemberResponse{}, nil
}

// ReserveMember implements peerpb.PeerServer.
func (s *peerServer) ReserveMember(ctx context.Context, r *peerpb.ReserveMemberRequest) (*peerpb.ReserveMemberResponse, error) {
	id, err := s.member.reserveHere(ctx, r.PeerUrls, r.Learner)
	if err != nil {
		return nil, failure.ToStatus(err)
	}
	return &peerpb.ReserveMemberResponse{Id: id}, nil
}

// PromoteMember implements peerpb.PeerServer.
func (s *peerServer) PromoteMember(ctx context.Context, r *peerpb.PromoteMemberRequest) (*peerpb.PromoteMemberResponse, error) {
	if err := s.member.promoteHere(ctx, r.Id); err != nil {
		return nil, failure.ToStatus(err)
	}
	return &peerpb.PromoteMemberResponse{}, nil
}

// UpdateMember implements peerpb.PeerServer.
func (s *peerServer) UpdateMember(ctx context.Context, r *peerpb.UpdateMemberRequest) (*peerpb.UpdateMemberResponse, error) {
	if err := s.member.updateHere(ctx, r.Id, r.PeerUrls); err != nil {
		return nil, failure.ToStatus(err)
	}
	return &peerpb.UpdateMemberResponse{}, nil
}
