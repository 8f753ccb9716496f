package propose

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/ctlplane/ctlplane/api/peerpb"
)

// Stream is a stream of groups to the leader.
type Stream = grpc.BidiStreamingClient[peerpb.ForwardRequest, peerpb.ForwardResponse]

// forwarding is one stream to one leader, with what is in flight on it.
//
// Invariant: a group is in flight from before it is sent until it is answered whole or the stream has ended; each
// is settled once, by whoever removes it. Its answer is the receiver's alone.
type forwarding struct {
	proposer *Proposer
	leader   raft.ServerID
	stream   Stream
	cancel   context.CancelFunc
	ended    chan struct{} // closed when nothing of it runs any more

	mu       sync.Mutex
	broken   bool
	next     uint64
	inFlight map[uint64]*groupAnswer
}

// forward sends a group to the leader. A slot was acquired for it.
func (p *Proposer) forward(leader raft.ServerID, proposals []*Proposal) {
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

func (p *Proposer) openForwarding(leader raft.ServerID) (*forwarding, error) {
	ctx, cancel := context.WithCancel(p.life)
	stream, err := p.options.Dial(ctx, leader)
	if err != nil {
		cancel()
		return nil, err
	}
	p.counted.streams.Add(1)
	f := &forwarding{
		proposer: p, leader: leader, stream: stream, cancel: cancel,
		ended: make(chan struct{}), inFlight: map[uint64]*groupAnswer{},
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

func (f *forwarding) send(proposals []*Proposal) {
	f.mu.Lock()
	f.next++
	id := f.next
	if f.broken {
		f.mu.Unlock()
		f.proposer.retry(proposals) // it was not sent
		f.proposer.release()
		return
	}
	f.inFlight[id] = &groupAnswer{answered: f.proposer.options.Answered, proposals: proposals}
	f.mu.Unlock()
	request := &peerpb.ForwardRequest{Id: id, Commands: make([][]byte, len(proposals)), InParts: true}
	for i, proposal := range proposals {
		request.Commands[i] = proposal.Encoded
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
		group := f.inFlight[response.Id]
		if !response.More {
			delete(f.inFlight, response.Id)
		}
		f.mu.Unlock()
		if group == nil {
			continue
		}
		group.take(response)
		if !response.More {
			f.settled(group)
		}
	}
	f.mu.Lock()
	f.broken = true
	lost := f.inFlight
	f.inFlight = nil
	f.mu.Unlock()
	for _, group := range lost {
		f.settled(group)
	}
}

// settled lets go of a group of which nothing comes any more.
func (f *forwarding) settled(group *groupAnswer) {
	if again := group.end(); len(again) > 0 {
		f.proposer.retry(again)
	}
	f.proposer.release()
}
