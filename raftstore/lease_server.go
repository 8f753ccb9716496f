package raftstore

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/broken"
	"github.com/ctlplane/ctlplane/raftstore/keepalive"
)

// leaseServer answers other members' renewals. The port let in nobody else.
type leaseServer struct {
	peerpb.UnimplementedLeasesServer
	member *Member
}

// renewersPerStream bounds the renewals of one member that wait: for a checkpoint, or for a lease's end.
const renewersPerStream = 1024

// Renew implements peerpb.LeasesServer. The leases of a message share the proof that this member leads.
func (s *leaseServer) Renew(stream grpc.BidiStreamingServer[peerpb.RenewRequest, peerpb.RenewResponse]) error {
	ctx := stream.Context()
	var sending sync.Mutex
	send := func(renewals ...*peerpb.Renewal) {
		sending.Lock()
		defer sending.Unlock()
		// A failure to send ends the stream, which Recv sees too.
		_ = stream.Send(&peerpb.RenewResponse{Renewals: renewals})
	}
	var waiting sync.WaitGroup
	defer waiting.Wait() // the stream ends with this call
	slots := make(chan struct{}, renewersPerStream)
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		done, slow := s.member.renewGroup(ctx, request.Ids)
		if len(done) > 0 {
			send(done...)
		}
		for _, id := range slow {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			waiting.Go(func() {
				defer func() { <-slots }()
				ttl, err := s.member.renewHere(ctx, id)
				send(keepalive.Encode(id, ttl, err))
			})
		}
	}
}

// renewGroup renews those of a follower's leases that need not wait for anything, and returns the others.
func (m *Member) renewGroup(ctx context.Context, ids []int64) (done []*peerpb.Renewal, slow []int64) {
	if broken.Is(broken.KeepaliveWithoutProof) {
		return nil, ids
	}
	_, err := m.leaderRounds.Join(ctx)
	for _, id := range ids {
		if err != nil {
			done = append(done, keepalive.Encode(id, 0, err))
			continue
		}
		ttl, renewal := m.renewProved(atOnce, id)
		if renewal == nil {
			done = append(done, keepalive.Encode(id, ttl, nil))
		} else {
			slow = append(slow, id)
		}
	}
	return done, slow
}

// atOnce is the context of a question that may not wait.
var atOnce = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()
