package peers

import "github.com/hashicorp/raft"

// deliver brings a request to Raft, and an answer back.
//
// Before entries, or news of what is committed, everything in the log is made durable: Raft would acknowledge, and apply, entries
// that a leader which is deposed has still queued. When the disk refuses that, Raft is not asked.
//
// An answer that refuses entries tells the leader why. Raft says NoRetryBackoff where the log has a gap or differs, but not where
// it fails to read an entry that it takes for stored. Here all say it but those whose entries the disk has refused.
func (t *Transport) deliver(rpc raft.RPC) {
	request, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if !ok {
		if !t.hand(rpc) {
			rpc.Respond(nil, raft.ErrTransportShutdown)
		}
		return
	}
	if request.Term >= t.options.Heartbeats.term.Load() && t.options.Log.Settle() != nil {
		rpc.Respond(t.refusal(request))
		return
	}
	refusals := t.options.Log.Refusals()
	answers := make(chan raft.RPCResponse, 1)
	if !t.hand(raft.RPC{Command: rpc.Command, Reader: rpc.Reader, RespChan: answers}) {
		rpc.Respond(nil, raft.ErrTransportShutdown)
		return
	}
	select {
	case answer := <-answers:
		response, ok := answer.Response.(*raft.AppendEntriesResponse)
		if ok && !response.Success && t.options.Log.Refusals() == refusals {
			response.NoRetryBackoff = true
		}
		rpc.RespChan <- answer
	case <-t.options.Heartbeats.done:
		rpc.Respond(nil, raft.ErrTransportShutdown)
	}
}

// hand gives a request to Raft's goroutine. It returns false if the transport is closed before Raft takes it.
func (t *Transport) hand(rpc raft.RPC) bool {
	select {
	case t.options.Heartbeats.others <- rpc:
		return true
	case <-t.options.Heartbeats.done:
		return false
	}
}

// refusal is the answer of a member whose disk refuses its log, which couldNotWrite knows. It says nothing of this member's own
// term, which is not later than the request's.
func (t *Transport) refusal(request *raft.AppendEntriesRequest) (*raft.AppendEntriesResponse, error) {
	last, err := t.options.Log.LastIndex()
	return &raft.AppendEntriesResponse{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}, Term: request.Term, LastLog: last,
	}, err
}
