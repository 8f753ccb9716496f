package statemachine

import (
	"fmt"
	"log/slog"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv"
)

// describedBytes bounds what the log gets of a request: a transaction may name very many keys.
const describedBytes = 1 << 10

// slowApplies times requests, and tells the log of those that took the state longer than they should: what they asked for, with keys
// and sizes, and never a value. The lines are those of etcd's.
type slowApplies struct {
	limit  time.Duration // 0 or less: the log is told nothing
	logger *slog.Logger
	now    func() time.Time
	// onCommands is told of all commands; nil: nobody is.
	onCommands func(Timing)

	// Of the batch that is being applied, by the goroutine that applies it:
	timed bool // its commands are timed one by one
	last  time.Time
	named bool // one of them was slow
	// Where they are timed as a whole: how many are yet to come, and those that were carried out and refused.
	left          int
	done, refused Timing
}

// Timing is how long commands of one kind took that had the same outcome.
type Timing struct {
	Command *kv.Command // one of them
	Err     error       // why they were refused; nil: they were not
	Count   int
	Each    time.Duration
}

// begin notes that a batch is applied from now on. Puts cost all the same, so that a batch of them is timed as a whole: looking
// at the clock for each would cost more than it tells.
func (s *slowApplies) begin(entries []kv.Entry) {
	s.timed, s.named, s.left = false, false, 0
	for i := range entries {
		s.left += len(entries[i].Commands)
		for j := range entries[i].Commands {
			s.timed = s.timed || entries[i].Commands[j].Put == nil
		}
	}
	s.last = s.now()
}

// carriedOut takes the time of one command of the batch, or with the last one that of all.
func (s *slowApplies) carriedOut(command *kv.Command, result kv.Result) {
	if !s.timed {
		s.carriedOutPut(command, result.Err)
		return
	}
	begun := s.last
	s.last = s.now()
	took := s.last.Sub(begun)
	s.tell(Timing{Command: command, Err: result.Err, Count: 1, Each: took})
	if s.limit > 0 && took > s.limit {
		s.named = true
		s.warn(took, "", describeCommand(command), describeResponse(result.Response), result.Err)
	}
}

func (s *slowApplies) carriedOutPut(command *kv.Command, err error) {
	of := &s.done
	if err != nil {
		of = &s.refused
	}
	of.Command, of.Err = command, err
	of.Count++
	if s.left--; s.left > 0 {
		return
	}
	each := s.now().Sub(s.last) / time.Duration(s.done.Count+s.refused.Count)
	s.done.Each, s.refused.Each = each, each
	s.tell(s.done)
	s.tell(s.refused)
	s.done, s.refused = Timing{}, Timing{}
}

func (s *slowApplies) tell(timing Timing) {
	if s.onCommands != nil && timing.Count > 0 {
		s.onCommands(timing)
	}
}

// end takes the time of the batch, which is written when its commands are carried out. It returns whether that was too long.
func (s *slowApplies) end(entries []kv.Entry, took time.Duration, err error) bool {
	if s.limit <= 0 || took <= s.limit {
		return false
	}
	if s.named {
		return true
	}
	commands, request := 0, "none"
	for i := range entries {
		if commands += len(entries[i].Commands); commands == 1 && len(entries[i].Commands) == 1 {
			request = describeCommand(&entries[i].Commands[0])
		}
	}
	if commands > 1 {
		request = fmt.Sprintf("%d requests in %d entries, none of them slow by itself: the disk, or the machine, is", commands, len(entries))
	}
	s.warn(took, "", request, "", err)
	return true
}

// read tells of a read that took too long, its wait for the leader included.
func (s *slowApplies) read(prefix string, took time.Duration, request fmt.Stringer, response proto.Message, err error) {
	if s.limit > 0 && took > s.limit {
		s.warn(took, prefix, cut(request.String()), describeResponse(response), err)
	}
}

func (s *slowApplies) warn(took time.Duration, prefix, request, response string, err error) {
	s.logger.Warn("apply request took too long", "took", took, "expected-duration", s.limit,
		"prefix", prefix, "request", request, "response", response, "error", err)
}

// describeCommand says what a command asks for, without values and passwords.
func describeCommand(c *kv.Command) string {
	switch {
	case c.Put != nil:
		return cut(fmt.Sprintf("put:<%v>", pb.NewLoggablePutRequest(c.Put)))
	case c.DeleteRange != nil:
		return cut(fmt.Sprintf("delete_range:<%v>", c.DeleteRange))
	case c.Txn != nil:
		return cut(fmt.Sprintf("txn:<%v>", pb.NewLoggableTxnRequest(c.Txn)))
	case c.Compact != nil:
		return fmt.Sprintf("compaction:<%v>", c.Compact)
	case c.LeaseGrant != nil:
		return fmt.Sprintf("lease_grant:<ttl:%d-second id:%016x>", c.LeaseGrant.TTL, c.LeaseGrant.ID)
	case c.LeaseRevoke != nil:
		return fmt.Sprintf("lease_revoke:<id:%016x>", c.LeaseRevoke.ID)
	case c.LeaseCheckpoint != nil:
		return fmt.Sprintf("lease_checkpoint:<leases:%d>", len(c.LeaseCheckpoint.Checkpoints))
	case c.Alarm != nil:
		return fmt.Sprintf("alarm:<%v>", c.Alarm)
	case c.Downgrade != nil:
		return fmt.Sprintf("downgrade:<%v>", c.Downgrade)
	case c.Auth != nil:
		return fmt.Sprintf("auth:<%s>", c.Auth.ProtoReflect().Descriptor().Name())
	case c.Member != nil:
		return fmt.Sprintf("member:<id:%016x>", c.Member.Member.ID)
	}
	return "unknown"
}

// describeResponse says how large a response is.
func describeResponse(response proto.Message) string {
	switch r := response.(type) {
	case nil:
		return ""
	case *pb.RangeResponse:
		if r == nil {
			return ""
		}
		return fmt.Sprintf("range_response_count:%d size:%d", len(r.Kvs), proto.Size(r))
	}
	return fmt.Sprintf("size:%d", proto.Size(response))
}

func cut(description string) string {
	if len(description) <= describedBytes {
		return description
	}
	return fmt.Sprintf("%s… (%d bytes more)", description[:describedBytes], len(description)-describedBytes)
}
