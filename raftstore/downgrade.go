package raftstore

import (
	"context"
	"errors"

	"github.com/blang/semver/v4"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"

	"github.com/ctlplane/ctlplane/kv"
)

var (
	// ErrBadVersion is returned for a version that is no major.minor or major.minor.patch.
	ErrBadVersion = errors.New("the version must be like 3.6 or 3.6.0")
	// ErrBadDowngrade is returned for a version other than the one before the cluster's.
	ErrBadDowngrade = errors.New("a cluster can only go back by one minor version")
	// ErrUnknownMethod is returned for an action that etcd does not have.
	ErrUnknownMethod = errors.New("unknown action")
)

// Downgrade answers etcd's requests about going back to the version before. The versions are those of etcd whose API and
// snapshots these are: what the store itself writes has the same form in all of them, so that nothing but the announcement
// is kept.
func (m *Member) Downgrade(ctx context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	var err error
	switch r.Action {
	case pb.DowngradeRequest_VALIDATE:
		_, err = m.validateDowngrade(ctx, r.Version)
	case pb.DowngradeRequest_ENABLE:
		var target string
		if target, err = m.validateDowngrade(ctx, r.Version); err == nil {
			err = m.announceDowngrade(ctx, &pb.DowngradeRequest{Action: r.Action, Version: target})
		}
	case pb.DowngradeRequest_CANCEL:
		err = m.announceDowngrade(ctx, &pb.DowngradeRequest{Action: r.Action})
		if errors.Is(err, kv.ErrNoDowngrade) {
			err = nil // as etcd has it
		}
	default:
		err = ErrUnknownMethod
	}
	if err != nil {
		return nil, err
	}
	return &pb.DowngradeResponse{Header: m.Header(), Version: version.Cluster(version.Version)}, nil
}

// DowngradeInfo tells whether a downgrade was announced, and to what.
func (m *Member) DowngradeInfo() *pb.DowngradeInfo {
	target := m.machine.Store().DowngradeTarget()
	return &pb.DowngradeInfo{Enabled: target != "", TargetVersion: target}
}

// validateDowngrade returns the target in its full form.
func (m *Member) validateDowngrade(ctx context.Context, text string) (string, error) {
	target, err := semver.Parse(text)
	if err != nil {
		if target, err = semver.Parse(text + ".0"); err != nil {
			return "", ErrBadVersion
		}
	}
	if err := m.LinearizableRead(ctx); err != nil {
		return "", err
	}
	now := semver.MustParse(version.Version)
	if target.Major != now.Major || target.Minor+1 != now.Minor {
		return "", ErrBadDowngrade
	}
	if m.DowngradeInfo().Enabled {
		return "", kv.ErrDowngradeInProcess
	}
	return semver.Version{Major: target.Major, Minor: target.Minor}.String(), nil
}

func (m *Member) announceDowngrade(ctx context.Context, r *pb.DowngradeRequest) error {
	_, err := apply[*pb.DowngradeResponse](ctx, m, kv.Command{Downgrade: r})
	return err
}
