package kv

import (
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func raise(member uint64, kind pb.AlarmType) Command {
	return Command{Alarm: &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: member, Alarm: kind}}
}

func takeBack(member uint64, kind pb.AlarmType) Command {
	return Command{Alarm: &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: member, Alarm: kind}}
}

func member(op MemberOperation, id uint64, learner bool) Command {
	return Command{Member: &MemberUpdate{Operation: op, Member: Member{ID: id, IsLearner: learner}}}
}

func txnOf(ops ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: ops} }

func puts(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put(key, "").Put}}
}

// TestNoSpaceRefusesWhatTakesRoom, from the command after the alarm on, and nothing else.
func TestNoSpaceRefusesWhatTakesRoom(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, grant(1, 60), put("a", ""), put("b", ""), put("a", "again"))
	nested := &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: txnOf(puts("c"))}}
	deleting := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: del("b", "").DeleteRange}}
	refused := []Command{put("a", ""), {Txn: txnOf(puts("c"))}, {Txn: &pb.TxnRequest{Failure: []*pb.RequestOp{puts("c")}}}, {Txn: txnOf(nested)}, grant(2, 60)}
	taken := []Command{{Txn: txnOf(deleting)}, del("a", ""), compact(2), CheckpointCommand(Checkpoint{1, 5}), revoke(1), member(MemberAdd, 9, false)}
	commands := slices.Concat([]Command{raise(7, pb.AlarmType_NOSPACE)}, refused, taken, []Command{takeBack(7, pb.AlarmType_NOSPACE)}, refused[:1])
	for i := range refused {
		if err := s.Refused(&refused[i]); err != nil {
			t.Errorf("refused without an alarm: %v", err)
		}
	}
	results := apply(t, s, commands...)
	for i, r := range results {
		want := error(nil)
		if i > 0 && i <= len(refused) {
			want = ErrNoSpace
		}
		if !errors.Is(r.Err, want) {
			t.Errorf("%d, %s: %v, want %v", i, printable(commands[i]), r.Err, want)
		}
	}
	apply(t, s, raise(7, AlarmQuota))
	for i := range refused {
		if err := s.Refused(&refused[i]); !errors.Is(err, ErrNoSpace) {
			t.Errorf("%d is not refused: %v", i, err)
		}
	}
	for i := range taken {
		if err := s.Refused(&taken[i]); err != nil {
			t.Errorf("%d is refused: %v", i, err)
		}
	}
}

// TestCorruptRefusesClients.
func TestCorruptRefusesClients(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, raise(1, pb.AlarmType_CORRUPT))
	for i, r := range apply(t, s, put("a", ""), del("a", ""), compact(1), Command{Txn: txnOf()}, grant(1, 5), revoke(1)) {
		if !errors.Is(r.Err, ErrCorrupt) {
			t.Errorf("%d: %v", i, r.Err)
		}
	}
	if err := s.Readable(); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	if r := apply(t, s, takeBack(1, pb.AlarmType_CORRUPT), put("a", "")); r[1].Err != nil || s.Readable() != nil {
		t.Error(r[1].Err)
	}
}

// TestDiskAlarmNeedsAMajority: members that have no room keep the others from nothing as long as those are a
// majority of the voters.
func TestDiskAlarmNeedsAMajority(t *testing.T) {
	s := open(t, Options{})
	for i, step := range []struct {
		command Command
		refused bool
	}{
		{member(MemberAdd, 1, false), false},
		{member(MemberAdd, 2, false), false},
		{member(MemberAdd, 3, false), false},
		{raise(1, AlarmDisk), false},
		{member(MemberAdd, 4, true), false},
		{raise(4, AlarmDisk), false},               // a learner
		{raise(2, AlarmDisk), true},                // one of three has room
		{member(MemberAdd, 5, false), true},        // two of four
		{member(MemberAdd, 6, false), false},       // three of five
		{member(MemberSet, 4, false), true},        // the learner was promoted: three of six
		{takeBack(1, AlarmDisk), false},            // four of six
		{member(MemberRemove, 5, false), false},    // three of five
		{member(MemberRemove, 6, false), true},     // two of four
		{member(MemberRemove, 4, false), false},    // two of three, and its alarm went with it
		{raise(2, AlarmQuota), true},               // that is for all
		{takeBack(2, AlarmQuota), false},           // the disk's is left
		{raise(2, pb.AlarmType_NOSPACE), true},     // as one by hand
		{takeBack(2, pb.AlarmType_NOSPACE), false}, // takes all of the member's back
		{raise(3, AlarmDisk), false},               // two of three
		{raise(1, AlarmDisk), true},                // one of three
		{takeBack(3, pb.AlarmType_NOSPACE), false}, // two of three
		{raise(8, AlarmDisk), false},               // no member
		{takeBack(8, AlarmDisk), false},
	} {
		results := apply(t, s, step.command, put("a", ""))
		if refused := errors.Is(results[1].Err, ErrNoSpace); results[0].Err != nil || refused != step.refused {
			t.Fatalf("step %d: %v, refused: %v", i, results[0].Err, refused)
		}
	}
	if alarmed := s.Alarmed(AlarmDisk); !slices.Equal(alarmed, []uint64{1}) {
		t.Errorf("alarms of %d", alarmed)
	}
}

// TestAlarmsSurviveARestart, and are listed and answered as in etcd.
func TestAlarmsSurviveARestart(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	noSpace := &pb.AlarmMember{MemberID: 2, Alarm: pb.AlarmType_NOSPACE}
	corrupt := &pb.AlarmMember{MemberID: 1, Alarm: pb.AlarmType_CORRUPT}
	results := apply(t, s, raise(2, AlarmQuota), raise(2, AlarmDisk), raise(1, pb.AlarmType_CORRUPT), raise(1, pb.AlarmType_CORRUPT), takeBack(3, pb.AlarmType_CORRUPT))
	for i, want := range [][]*pb.AlarmMember{{noSpace}, {noSpace}, {corrupt}, {corrupt}, {}} {
		got := results[i].Response.(*pb.AlarmResponse).Alarms
		if !slices.EqualFunc(got, want, func(a, b *pb.AlarmMember) bool { return proto.Equal(a, b) }) {
			t.Errorf("%d is answered by %v", i, got)
		}
	}
	for range 2 {
		if all := s.Alarms(); len(all) != 2 || !proto.Equal(all[0], corrupt) || !proto.Equal(all[1], noSpace) {
			t.Errorf("alarms %v", all)
		}
		if c := put("a", ""); !errors.Is(s.Refused(&c), ErrCorrupt) {
			t.Error("not refused")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, Options{FS: fs})
	}
	r := apply(t, s, takeBack(1, pb.AlarmType_CORRUPT), takeBack(2, pb.AlarmType_NOSPACE), put("a", ""), raise(1, 0), raise(1, 99), Command{Alarm: &pb.AlarmRequest{Alarm: pb.AlarmType_NOSPACE}})
	if r[2].Err != nil || len(s.Alarms()) != 0 {
		t.Error(r[2].Err, s.Alarms())
	}
	for _, r := range r[3:] {
		if !errors.Is(r.Err, ErrInvalidCommand) {
			t.Error(r.Err)
		}
	}
}
