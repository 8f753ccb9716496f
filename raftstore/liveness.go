package raftstore

import (
	"context"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// livenessServer answers what other members ask about who is alive. The port let in nobody else.
type livenessServer struct {
	peerpb.UnimplementedLivenessServer
	member *Member
}

// LeaderGone implements peerpb.LivenessServer.
func (s *livenessServer) LeaderGone(_ context.Context, r *peerpb.LeaderGoneRequest) (*peerpb.LeaderGoneResponse, error) {
	return s.member.agree(r), nil
}

// Health implements peerpb.LivenessServer.
func (s *livenessServer) Health(ctx context.Context, _ *peerpb.HealthRequest) (*peerpb.HealthResponse, error) {
	return s.member.ownHealth(ctx), nil
}

// Removed implements peerpb.LivenessServer.
func (s *livenessServer) Removed(_ context.Context, r *peerpb.RemovedRequest) (*peerpb.RemovedResponse, error) {
	m := s.member
	removed := r.ClusterId == m.config.Identity.ClusterID && m.machine.Store().MemberRemoved(r.Id)
	return &peerpb.RemovedResponse{Removed: removed}, nil
}

// Reaches implements peerpb.LivenessServer.
func (s *livenessServer) Reaches(ctx context.Context, r *peerpb.ReachesRequest) (*peerpb.ReachesResponse, error) {
	return &peerpb.ReachesResponse{Reached: s.member.aliveWithin(ctx, membership.ServerID(r.Id), s.member.reachPatience())}, nil
}
