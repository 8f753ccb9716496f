package kv

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

func sameCommand(a, b Command) bool {
	if a.Member != nil || b.Member != nil {
		return reflect.DeepEqual(a.Member, b.Member)
	}
	ta, ma := a.message()
	tb, mb := b.message()
	return ta == tb && proto.Equal(ma, mb)
}

func TestCommandRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := genCommand(t, 10)
		if rapid.Bool().Draw(t, "member") {
			text := rapid.SliceOfN(rapid.String(), 1, 3)
			c = Command{Member: &MemberUpdate{
				Operation: MemberOperation(rapid.ByteRange(1, 4).Draw(t, "operation")),
				Member: Member{
					ID: rapid.Uint64().Draw(t, "id"), Name: rapid.String().Draw(t, "name"), IsLearner: rapid.Bool().Draw(t, "learner"),
					PeerURLs: text.Draw(t, "peer"), ClientURLs: text.Draw(t, "client"), APIURLs: text.Draw(t, "api"),
				},
			}}
		}
		b, err := c.Append([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeCommand(bytes.TrimPrefix(b, []byte("before")))
		if err != nil || !sameCommand(c, got) {
			t.Fatalf("%s came back as %s, %v", printable(c), printable(got), err)
		}
	})
}

// FuzzDecodeCommand: whatever bytes come, decoding ends in an error or a command that can be encoded and
// applied.
func FuzzDecodeCommand(f *testing.F) {
	for _, c := range []Command{put("a", "b"), del("a", "b"), compact(3), {Member: &MemberUpdate{Operation: MemberAdd, Member: Member{ID: 1, Name: "x"}}}, {Txn: &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("a"), TargetUnion: &pb.Compare_Version{}}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put("a", "b").Put}}, {}},
	}}, {LeaseGrant: &pb.LeaseGrantRequest{ID: 1, TTL: 1}}, addUser("a"), {Auth: &pb.AuthEnableRequest{}, Caller: Anonymous},
		{Auth: &pb.AuthRoleDeleteRequest{Role: "r"}, Caller: &Caller{User: "u", AuthRevision: 300}}, {LeaseRevoke: &pb.LeaseRevokeRequest{ID: 1}}, CheckpointCommand(Checkpoint{1, 5}, Checkpoint{2, 0}), raise(1, AlarmDisk)} {
		b, err := c.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{})
	f.Add([]byte{99, 1})
	f.Add([]byte{tagMember})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCommand(b)
		if err != nil {
			if !errors.Is(err, ErrInvalidCommand) {
				t.Fatal(err)
			}
			return
		}
		again, err := c.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeCommand(again); err != nil || !sameCommand(c, got) {
			t.Fatalf("%s came back as %s, %v", printable(c), printable(got), err)
		}
		s := open(t, Options{})
		apply(t, s, c, c)
	})
}

func TestCommandNeedsOneField(t *testing.T) {
	two := put("a", "b")
	two.Compact = &pb.CompactionRequest{}
	for _, c := range []Command{{}, two} {
		if _, err := c.Append(nil); !errors.Is(err, ErrInvalidCommand) {
			t.Error(err)
		}
	}
}

func putOp(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put(key, "v").Put}}
}

// keepOp puts a key with the value that it has.
func keepOp(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), IgnoreValue: true}}}
}

func delOp(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: del(key, end).DeleteRange}}
}

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func txnOp(t *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}

func success(ops ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: ops} }

func TestValidate(t *testing.T) {
	many := func(n int) []*pb.RequestOp {
		ops := make([]*pb.RequestOp, n)
		for i := range ops {
			ops[i] = putOp(fmt.Sprint("x", i))
		}
		return ops
	}
	for _, c := range []struct {
		name    string
		command Command
		want    error
	}{
		{"put", put("a", ""), nil},
		{"put without key", put("", "x"), ErrEmptyKey},
		{"ignore value with value", Command{Put: &pb.PutRequest{Key: []byte("a"), Value: []byte("x"), IgnoreValue: true}}, ErrValueProvided},
		{"ignore lease with lease", Command{Put: &pb.PutRequest{Key: []byte("a"), Lease: 1, IgnoreLease: true}}, ErrLeaseProvided},
		{"delete without key", del("", "x"), ErrEmptyKey},
		{"the most operations", Command{Txn: success(many(MaxTxnOps)...)}, nil},
		{"too many operations", Command{Txn: success(many(MaxTxnOps + 1)...)}, ErrTooManyOps},
		{"too many in the failure branch", Command{Txn: &pb.TxnRequest{Failure: many(MaxTxnOps + 1)}}, ErrTooManyOps},
		{"all but one, and one nested", Command{Txn: success(append(many(MaxTxnOps-1), txnOp(success(delOp("y", ""))))...)}, ErrTooManyOps},
		{"one and the rest nested", Command{Txn: success(txnOp(success(many(MaxTxnOps - 1)...)))}, nil},
		{"one and all nested", Command{Txn: success(txnOp(success(many(MaxTxnOps)...)))}, ErrTooManyOps},
		{"compare without key", Command{Txn: &pb.TxnRequest{Compare: []*pb.Compare{{}}}}, ErrEmptyKey},
		{"operation that is none", Command{Txn: success(&pb.RequestOp{})}, ErrKeyNotFound},
		{"nested put without key", Command{Txn: success(txnOp(success(putOp(""))))}, ErrEmptyKey},
		{"range with unknown order", Command{Txn: success(rangeOp(&pb.RangeRequest{Key: []byte("a"), SortOrder: 9}))}, ErrInvalidSortOption},
		{"double put", Command{Txn: success(putOp("a"), putOp("a"))}, ErrDuplicateKey},
		{"double delete", Command{Txn: success(delOp("a", ""), delOp("a", "b"))}, nil},
		{"put and delete", Command{Txn: success(putOp("a"), delOp("a", ""))}, ErrDuplicateKey},
		{"put in deleted range", Command{Txn: success(delOp("a", "c"), putOp("b"))}, ErrDuplicateKey},
		{"put at the end of a deleted range", Command{Txn: success(delOp("a", "c"), putOp("c"))}, nil},
		{"put after everything from a key is deleted", Command{Txn: success(delOp("a", "\x00"), putOp("z"))}, nil},
		{"put that keeps what was deleted", Command{Txn: success(delOp("a", "\x00"), txnOp(success(keepOp("z"))))}, ErrDuplicateKey},
		{"put that keeps what was not deleted", Command{Txn: success(delOp("b", "\x00"), putOp("c"), keepOp("a"))}, nil},
		{"put in both branches", Command{Txn: &pb.TxnRequest{Success: []*pb.RequestOp{putOp("a")}, Failure: []*pb.RequestOp{putOp("a")}}}, nil},
		{"put and nested put", Command{Txn: success(txnOp(success(putOp("a"))), putOp("a"))}, ErrDuplicateKey},
		{"put in both branches of a nested one", Command{Txn: success(txnOp(&pb.TxnRequest{Success: []*pb.RequestOp{putOp("a")}, Failure: []*pb.RequestOp{putOp("a")}}))}, nil},
		{"put in two nested ones", Command{Txn: success(txnOp(success(putOp("a"))), txnOp(&pb.TxnRequest{Failure: []*pb.RequestOp{putOp("a")}}))}, ErrDuplicateKey},
		{"delete in a nested one, then put in another", Command{Txn: success(txnOp(success(delOp("a", ""))), txnOp(success(putOp("a"))))}, ErrDuplicateKey},
		{"put in a nested one, then delete in another", Command{Txn: success(txnOp(success(putOp("a"))), txnOp(success(delOp("a", ""))))}, nil},
		{"lease of too long a life", Command{LeaseGrant: &pb.LeaseGrantRequest{ID: 1, TTL: MaxLeaseTTL + 1}}, ErrLeaseTTLTooLarge},
		{"member without id", Command{Member: &MemberUpdate{Operation: MemberAdd}}, ErrInvalidCommand},
		{"member with no operation", Command{Member: &MemberUpdate{Member: Member{ID: 1}}}, ErrInvalidCommand},
		{"nothing", Command{}, ErrInvalidCommand},
	} {
		if err := c.command.Validate(); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		// Apply refuses what Validate refuses, and changes nothing.
		s := open(t, Options{})
		if r := apply(t, s, c.command)[0]; c.want != nil && (!errors.Is(r.Err, c.want) || s.Revision() != 1 || s.AppliedIndex() != 1) {
			t.Errorf("%s: applied with %v, revision %d, index %d", c.name, r.Err, s.Revision(), s.AppliedIndex())
		}
	}
}
