package raftstore

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

// Alarm lists alarms, raises one or takes one back. With the type NONE it lists all, and changes nothing. The
// error for a type or an action that there isn't is kv.ErrInvalidCommand.
func (m *Member) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	switch r.Alarm {
	case pb.AlarmType_NONE, pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT:
	default: // the others are the members' own
		return nil, fmt.Errorf("%w: there is no alarm %d", kv.ErrInvalidCommand, r.Alarm)
	}
	switch r.Action {
	case pb.AlarmRequest_GET:
		return m.alarms(ctx, r.Alarm)
	case pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE:
		if r.Alarm == pb.AlarmType_NONE {
			return &pb.AlarmResponse{Header: m.Header()}, nil
		}
		return apply[*pb.AlarmResponse](ctx, m, kv.Command{Alarm: r})
	}
	return nil, fmt.Errorf("%w: there is no alarm action %d", kv.ErrInvalidCommand, r.Action)
}

// alarms lists the alarms of a type, linearizably.
func (m *Member) alarms(ctx context.Context, kind pb.AlarmType) (*pb.AlarmResponse, error) {
	if err := m.LinearizableRead(ctx); err != nil {
		return nil, err
	}
	return read(ctx, m, func(store *kv.Store) (*pb.AlarmResponse, error) {
		response := &pb.AlarmResponse{}
		for _, a := range store.Alarms() {
			if kind == pb.AlarmType_NONE || a.Alarm == kind {
				response.Alarms = append(response.Alarms, a)
			}
		}
		return response, nil
	})
}

// leads tells whether this member leads, as far as it knows.
func (m *Member) leads() bool { return m.raft.State() == raft.Leader }
