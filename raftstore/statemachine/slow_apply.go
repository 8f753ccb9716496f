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

// slowApplies tells the log of requests that took the state longer than they should: what they asked for, with keys and sizes, and
// never a value. The lines are those of etcd's.
type slowApplies struct {
	limit  time.Duration // 0 or less: nobody is told
	logger *slog.Logger
	now    func() time.Time

	// Of the batch that is being applied, by the goroutine that applies it:
	timed bool // its commands are timed one by one
	last  time.Time
	named bool // one of them was slow
}

// begin notes that a batch is applied from now on. Puts cost all the same, so that a batch of them is timed as a whole: looking
// at the clock for each would cost more than it tells.
func (s *slowApplies) begin(entries []kv.Entry) {
	s.timed, s.named = false, false
	if s.limit <= 0 {
		return
	}
	for i := range entries {
		for j := range entries[i].Commands {
			s.timed = s.timed || entries[i].Commands[j].Put == nil
		}
	}
	s.last = s.now()
}

// carriedOut takes the time of one command of the batch.
func (s *slowApplies) carriedOut(command *kv.Command, result kv.Result) {
	if !s.timed {
		return
	}
	begun := s.last
	s.last = s.now()
	if took := s.last.Sub(begun); took > s.limit {
		s.named = true
		s.warn(took, "", describeCommand(command), describeResponse(result.Response), result.Err)
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

// read tells of a read that began at a time and took too long, its wait for the leader included.
func (s *slowApplies) read(prefix string, begun time.Time, request fmt.Stringer, response proto.Message, err error) {
	if s.limit <= 0 {
		return
	}
	if took := s.now().Sub(begun); took > s.limit {
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
