package propose

import (
	"errors"
	"fmt"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
)

// answerPart bounds the responses in one message to a follower, in bytes. A transaction's response may be a thousand times as
// large: it goes in parts, so that neither member holds more than one message of it beside the response itself.
const answerPart = 1 << 20

// outcome is what became of a command.
type outcome struct {
	result kv.Result
	err    error
}

// sendOutcomes answers a follower's group of commands, in as many messages as it takes. Each outcome is dropped as soon as it is
// encoded.
func sendOutcomes(request *peerpb.ForwardRequest, outcomes []outcome, send func(*peerpb.ForwardResponse) error) error {
	limit := answerPart
	if !request.InParts {
		limit = math.MaxInt // the sender is of a release that takes one message
	}
	message := &peerpb.ForwardResponse{Id: request.Id}
	used := 0
	for i := range outcomes {
		result := encodeResult(outcomes[i].result, outcomes[i].err)
		outcomes[i] = outcome{}
		message.Results = append(message.Results, result)
		for used+len(result.Response) > limit {
			room := limit - used
			rest := result.Response[room:]
			result.Response, result.Left = result.Response[:room], uint64(len(rest))
			message.More = true
			if err := send(message); err != nil {
				return err
			}
			result = &peerpb.CommandResult{Response: rest}
			message = &peerpb.ForwardResponse{Id: request.Id, Results: []*peerpb.CommandResult{result}}
			used = 0
		}
		used += len(result.Response)
	}
	return send(message)
}

// encodeResult prepares one command's outcome for its way to the follower.
func encodeResult(result kv.Result, err error) *peerpb.CommandResult {
	switch {
	case errors.Is(err, failure.ErrNotLeading), errors.Is(err, failure.ErrClosed):
		return &peerpb.CommandResult{Outcome: peerpb.CommandResult_NOT_LEADER}
	case errors.Is(err, failure.ErrTooManyRequests):
		return &peerpb.CommandResult{Outcome: peerpb.CommandResult_BUSY}
	case errors.Is(err, failure.ErrTooLarge):
		return &peerpb.CommandResult{Outcome: peerpb.CommandResult_TOO_LARGE}
	case err != nil:
		return &peerpb.CommandResult{Outcome: peerpb.CommandResult_UNKNOWN}
	}
	if result.Err != nil {
		code := kv.ErrInvalidCommand
		errors.As(result.Err, &code)
		return &peerpb.CommandResult{Error: uint32(code), Index: result.Index}
	}
	encoded, err := proto.Marshal(result.Response)
	if err != nil {
		return &peerpb.CommandResult{Outcome: peerpb.CommandResult_UNKNOWN}
	}
	return &peerpb.CommandResult{Response: encoded, Index: result.Index}
}

// groupAnswer puts the answer to a group together from its parts.
type groupAnswer struct {
	answered  func(index uint64, revision int64) // see Options
	proposals []*Proposal
	settled   int // of proposals, from the front
	// partial is the result that the next message goes on with; nil: it begins with another.
	partial *peerpb.CommandResult
	// refused are the proposals that the leader did not propose, since it leads no more.
	refused []*Proposal
}

// take hands out the results that a message completes.
func (a *groupAnswer) take(message *peerpb.ForwardResponse) {
	results := message.Results
	if a.partial != nil && len(results) > 0 {
		a.partial.Response = append(a.partial.Response, results[0].Response...)
		a.partial.Left = results[0].Left
		results[0], a.partial = a.partial, nil
	}
	for _, result := range results {
		switch {
		case a.settled == len(a.proposals): // more than were asked for
			return
		case result.Left > 0:
			result.Response = withRoom(result.Response, result.Left)
			a.partial = result
			return
		}
		a.settle(a.proposals[a.settled], result)
		a.settled++
	}
}

// withRoom has room for what is still to come, so that it is copied once.
func withRoom(response []byte, left uint64) []byte {
	if uint64(cap(response)-len(response)) >= left || left > math.MaxInt32 {
		return response
	}
	return append(make([]byte, 0, len(response)+int(left)), response...)
}

func (a *groupAnswer) settle(proposal *Proposal, result *peerpb.CommandResult) {
	switch result.Outcome {
	case peerpb.CommandResult_APPLIED:
		decoded, err := decodeResult(&proposal.Command, result)
		a.answered(result.Index, revisionOf(decoded))
		proposal.Done(decoded, err)
	case peerpb.CommandResult_NOT_LEADER:
		a.refused = append(a.refused, proposal)
	case peerpb.CommandResult_BUSY:
		proposal.fail(failure.ErrTooManyRequests)
	case peerpb.CommandResult_TOO_LARGE:
		proposal.fail(fmt.Errorf("%w: %d bytes are more than the leader takes", failure.ErrTooLarge, len(proposal.Encoded)))
	default:
		proposal.fail(failure.ErrOutcomeUnknown)
	}
}

// end gives up waiting for what is not answered, and returns what may be proposed again.
func (a *groupAnswer) end() (again []*Proposal) {
	for _, lost := range a.proposals[a.settled:] {
		lost.fail(failure.ErrOutcomeUnknown)
	}
	return a.refused
}

// decodeResult is the reverse of encodeResult. The response's type follows from the command. One that can't be read is that of a
// command which was applied all the same.
func decodeResult(command *kv.Command, result *peerpb.CommandResult) (kv.Result, error) {
	if result.Error != 0 {
		return kv.Result{Err: kv.ErrorCode(result.Error), Index: result.Index}, nil
	}
	response := newResponse(command)
	if err := proto.Unmarshal(result.Response, response); err != nil {
		return kv.Result{}, fmt.Errorf("%w: the leader's answer can't be read: %w", failure.ErrOutcomeUnknown, err)
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
