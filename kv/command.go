package kv

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Command is one request that changes the state; exactly one field is set. A command that was handed to
// Apply, with all that it points to, belongs to the store and must not be changed any more.
type Command struct {
	Put         *pb.PutRequest
	DeleteRange *pb.DeleteRangeRequest
	Txn         *pb.TxnRequest
	Compact     *pb.CompactionRequest
	// LeaseGrant needs its ID to be chosen before it is proposed (see ChooseLeaseID): Apply must do the
	// same on every member.
	LeaseGrant  *pb.LeaseGrantRequest
	LeaseRevoke *pb.LeaseRevokeRequest
	Member      *MemberUpdate
	// LeaseCheckpoint records what is left of leases, for the next leader (see Lessor). Leases that are
	// not there are passed over.
	LeaseCheckpoint *pb.LeaseCheckpointRequest
	// Alarm raises or takes back an alarm of one member. Its type may be AlarmQuota or AlarmDisk.
	Alarm *pb.AlarmRequest
	// Downgrade announces a downgrade (ENABLE), or takes that back (CANCEL).
	Downgrade *pb.DowngradeRequest
	// Auth is a change of users and roles: one of etcd's requests for that (see authKinds).
	Auth proto.Message

	// Caller is for whom it is, beside the one field; nil is the master itself, who may do everything.
	Caller *Caller
}

// The first byte of an encoded command. The numbers are in the Raft log: never renumber.
const (
	tagPut         = 1
	tagDeleteRange = 2
	tagTxn         = 3
	tagCompact     = 4
	tagLeaseGrant  = 5
	tagLeaseRevoke = 6
	tagMember      = 7

	tagLeaseCheckpoint = 16
	tagAlarm           = 17

	tagDowngrade = 20

	tagAuth      = 31 // a byte for the kind follows
	tagAnonymous = 32 // the command of a client without credentials follows
	tagCaller    = 33 // the caller follows, and then the command
)

// Append appends the encoded command to dst: a tag byte, then the message. The length is not part of it;
// who packs several commands in one entry has to keep them apart. It fails for a command with no or more
// than one field set.
func (c *Command) Append(dst []byte) ([]byte, error) {
	if err := c.one(); err != nil {
		return dst, err
	}
	dst = appendCaller(dst, c.Caller)
	if u := c.Member; u != nil {
		return u.Member.append(append(dst, tagMember, byte(u.Operation))), nil
	}
	if c.Auth != nil {
		return proto.MarshalOptions{}.MarshalAppend(append(dst, tagAuth, authKind(c.Auth)), c.Auth)
	}
	tag, m := c.message()
	return proto.MarshalOptions{}.MarshalAppend(append(dst, tag), m)
}

func (c *Command) message() (byte, proto.Message) {
	switch {
	case c.Put != nil:
		return tagPut, c.Put
	case c.DeleteRange != nil:
		return tagDeleteRange, c.DeleteRange
	case c.Txn != nil:
		return tagTxn, c.Txn
	case c.Compact != nil:
		return tagCompact, c.Compact
	case c.LeaseGrant != nil:
		return tagLeaseGrant, c.LeaseGrant
	case c.LeaseCheckpoint != nil:
		return tagLeaseCheckpoint, c.LeaseCheckpoint
	case c.Alarm != nil:
		return tagAlarm, c.Alarm
	case c.Downgrade != nil:
		return tagDowngrade, c.Downgrade
	case c.Auth != nil:
		return tagAuth, c.Auth
	default:
		return tagLeaseRevoke, c.LeaseRevoke
	}
}

// one reports an error unless exactly one field is set.
func (c *Command) one() error {
	n := 0
	for _, set := range [...]bool{
		c.Put != nil, c.DeleteRange != nil, c.Txn != nil, c.Compact != nil,
		c.LeaseGrant != nil, c.LeaseRevoke != nil, c.LeaseCheckpoint != nil, c.Alarm != nil, c.Member != nil, c.Downgrade != nil, c.Auth != nil,
	} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%w: %d of its fields are set, one has to be", ErrInvalidCommand, n)
	}
	return nil
}

// DecodeCommand is the reverse of Command.Append. The command does not alias b.
func DecodeCommand(b []byte) (Command, error) {
	caller, b, err := decodeCaller(b)
	if err != nil {
		return Command{}, err
	}
	c, err := decodeCommand(b)
	c.Caller = caller
	return c, err
}

func decodeCommand(b []byte) (Command, error) {
	if len(b) == 0 {
		return Command{}, fmt.Errorf("%w: it is empty", ErrInvalidCommand)
	}
	var c Command
	var m proto.Message
	switch tag := b[0]; tag {
	case tagPut:
		c.Put = new(pb.PutRequest)
		m = c.Put
	case tagDeleteRange:
		c.DeleteRange = new(pb.DeleteRangeRequest)
		m = c.DeleteRange
	case tagTxn:
		c.Txn = new(pb.TxnRequest)
		m = c.Txn
	case tagCompact:
		c.Compact = new(pb.CompactionRequest)
		m = c.Compact
	case tagLeaseGrant:
		c.LeaseGrant = new(pb.LeaseGrantRequest)
		m = c.LeaseGrant
	case tagLeaseRevoke:
		c.LeaseRevoke = new(pb.LeaseRevokeRequest)
		m = c.LeaseRevoke
	case tagDowngrade:
		c.Downgrade = new(pb.DowngradeRequest)
		m = c.Downgrade
	case tagLeaseCheckpoint:
		c.LeaseCheckpoint = new(pb.LeaseCheckpointRequest)
		m = c.LeaseCheckpoint
	case tagAlarm:
		c.Alarm = new(pb.AlarmRequest)
		m = c.Alarm
	case tagMember:
		return decodeMemberCommand(b[1:])
	case tagAuth:
		return decodeAuthCommand(b[1:])
	default:
		return Command{}, fmt.Errorf("%w: kind %d is not known to this version; upgrade this member to that of the leader", ErrInvalidCommand, tag)
	}
	if err := proto.Unmarshal(b[1:], m); err != nil {
		return Command{}, fmt.Errorf("%w: %v", ErrInvalidCommand, err)
	}
	return c, nil
}

func decodeMemberCommand(b []byte) (Command, error) {
	if len(b) == 0 {
		return Command{}, fmt.Errorf("%w: a member update without an operation", ErrInvalidCommand)
	}
	m, err := decodeMember(b[1:])
	if err != nil {
		return Command{}, fmt.Errorf("%w: a member record that can't be decoded", ErrInvalidCommand)
	}
	return Command{Member: &MemberUpdate{Operation: MemberOperation(b[0]), Member: m}}, nil
}
