package raftstore

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/kv"
)

// forwardStream is a stream of groups to the leader.
type forwardStream = grpc.BidiStreamingClient[peerpb.ForwardRequest, peerpb.ForwardResponse]

// forwarding is one stream to one leader, with what is in flight on it.
//
// Invariant: a group is in flight from before it is sent until it is answered or the stream has ended; each
// is settled once, by whoever removes it.
type forwarding struct {
	proposer *proposer
	leader   raft.ServerID
	stream   forwardStream
	cancel   context.CancelFunc
	ended    chan struct{} // closed when nothing of it runs any more

	mu       sync.Mutex
	broken   bool
	next     uint64
	inFlight map[uint64][]*proposal
}

// forward sends a group to the leader. A slot was acquired for it.
func (p *proposer) forward(leader raft.ServerID, proposals []*proposal) {
	if p.forwarding == nil || p.forwarding.leader != leader || p.forwarding.isBroken() {
		p.forwarding.end()
		p.forwarding = nil
		opened, err := p.openForwarding(leader)
		if err != nil {
			// Nothing was sent. The leader is gone, and there will be another.
			p.retry(proposals)
			p.release()
			return
		}
		p.forwarding = opened
	}
	p.forwarding.send(proposals)
}

func (p *proposer) openForwarding(leader raft.ServerID) (*forwarding, error) {
	ctx, cancel := context.WithCancel(p.life)
	stream, err := p.dial(ctx, leader)
	if err != nil {
		cancel()
		return nil, err
	}
	f := &forwarding{
		proposer: p, leader: leader, stream: stream, cancel: cancel,
		ended: make(chan struct{}), inFlight: map[uint64][]*proposal{},
	}
	p.wg.Go(f.receive)
	return f, nil
}

func (f *forwarding) isBroken() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken
}

// end closes the stream; what is in flight on it gets ErrOutcomeUnknown. It returns once that is done.
func (f *forwarding) end() {
	if f != nil {
		f.cancel()
		<-f.ended
	}
}

func (f *forwarding) send(proposals []*proposal) {
	f.mu.Lock()
	f.next++
	id := f.next
	if f.broken {
		f.mu.Unlock()
		f.proposer.retry(proposals) // it was not sent
		f.proposer.release()
		return
	}
	f.inFlight[id] = proposals
	f.mu.Unlock()
	request := &peerpb.ForwardRequest{Id: id, Commands: make([][]byte, len(proposals))}
	for i, proposal := range proposals {
		request.Commands[i] = proposal.encoded
	}
	if err := f.stream.Send(request); err != nil {
		f.cancel() // receive sees the stream's end, and settles what is in flight
	}
}

// receive settles groups as the leader answers them.
func (f *forwarding) receive() {
	defer close(f.ended)
	defer f.cancel()
	for {
		response, err := f.stream.Recv()
		if err != nil {
			break
		}
		f.mu.Lock()
		proposals := f.inFlight[response.Id]
		delete(f.inFlight, response.Id)
		f.mu.Unlock()
		if proposals != nil {
			f.settle(proposals, response.Results)
			f.proposer.release()
		}
	}
	f.mu.Lock()
	f.broken = true
	lost := f.inFlight
	f.inFlight = nil
	f.mu.Unlock()
	for _, proposals := range lost {
		for _, proposal := range proposals {
			proposal.fail(ErrOutcomeUnknown)
		}
		f.proposer.release()
	}
}

func (f *forwarding) settle(proposals []*proposal, results []*peerpb.CommandResult) {
	var again []*proposal
	for i, proposal := range proposals {
		if i >= len(results) {
			proposal.fail(ErrOutcomeUnknown)
			continue
		}
		switch result := results[i]; result.Outcome {
		case peerpb.CommandResult_APPLIED:
			decoded, err := decodeResult(&proposal.command, result)
			f.proposer.answered.note(result.Index, revisionOf(decoded))
			proposal.done(decoded, err)
		case peerpb.CommandResult_NOT_LEADER:
			again = append(again, proposal)
		case peerpb.CommandResult_BUSY:
			proposal.fail(ErrTooManyRequests)
		default:
			proposal.fail(ErrOutcomeUnknown)
		}
	}
	if len(again) > 0 {
		f.proposer.retry(again)
	}
}

// decodeResult is the reverse of encodeResult. The response's type follows from the command.
func decodeResult(command *kv.Command, result *peerpb.CommandResult) (kv.Result, error) {
	if result.Error != 0 {
		return kv.Result{Err: kv.ErrorCode(result.Error), Index: result.Index}, nil
	}
	response := newResponse(command)
	if err := proto.Unmarshal(result.Response, response); err != nil {
		return kv.Result{}, fmt.Errorf("the leader's answer can't be read: %w", err)
	}
	return kv.Result{Response: response, Index: result.Index}, nil
}

// revisionOf is the revision that a result tells, 0 if none.
func revisionOf(result kv.Result) int64 {
	response, ok := result.Response.(interface{ GetHeader() *pb.ResponseHeader })
	if !ok {
		return 0
	}
	return response.GetHeader().GetRevision()
}

func newResponse(command *kv.Command) proto.Message {
	switch {
	case command.Put != nil:
		return new(pb.PutResponse)
	case command.DeleteRange != nil:
		return new(pb.DeleteRangeResponse)
	case command.Txn != nil:
		return new(pb.TxnResponse)
	case command.Compact != nil:
		return new(pb.CompactionResponse)
	case command.LeaseGrant != nil:
		return new(pb.LeaseGrantResponse)
	case command.LeaseCheckpoint != nil:
		return new(pb.LeaseCheckpointResponse)
	case command.Alarm != nil:
		return new(pb.AlarmResponse)
	case command.LeaseRevoke != nil:
		return new(pb.LeaseRevokeResponse)
	case command.Downgrade != nil:
		return new(pb.DowngradeResponse)
	case command.Auth != nil:
		return newAuthResponse(command.Auth)
	default:
		return new(pb.MemberUpdateResponse)
	}
}
