package etcdv3

import (
	"context"
	"errors"
	"net"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore"
)

// startAdded starts the machine that a member was added for, at listener's address.
func startAdded(t *testing.T, ca *pki.CA, members []*servedMember, id uint64, name string, l net.Listener) *servedMember {
	t.Helper()
	address := l.Addr().String()
	got, err := members[0].AddMember(t.Context(), raftstore.NewMember{Name: name, PeerAddress: address, ClientAddress: address})
	if err != nil || got != id {
		t.Fatalf("joined as %x, want %x: %v", got, id, err)
	}
	m := &servedMember{Member: openMember(t, ca, raftstore.Identity{ClusterID: 1, MemberID: id, Name: name, PeerAddress: address, ClientAddress: address}, l)}
	t.Cleanup(func() { m.close(t) })
	m.address = serve(t, m, ServerConfig{IsLearner: m.IsLearner}, Options{})
	return m
}

// TestMembersChange goes etcd's way: add, start, promote, remove; by etcd's client.
func TestMembersChange(t *testing.T) {
	ca, members := startMembersOf(t, 3)
	c := connect(t, members[1].address)
	ctx := t.Context()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	added, err := c.MemberAddAsLearner(ctx, []string{url})
	if err != nil || len(added.Members) != 4 || !added.Member.IsLearner || added.Member.Name != "" || added.Member.PeerURLs[0] != url {
		t.Fatalf("%v, %v", added, err)
	}
	id := added.Member.ID
	for what, refused := range map[string]struct {
		change func() error
		want   error
	}{
		"a second learner":             {func() error { _, err := c.MemberAddAsLearner(ctx, []string{"http://127.0.0.1:1"}); return err }, rpctypes.ErrTooManyLearners},
		"the same URL":                 {func() error { _, err := c.MemberAdd(ctx, []string{url}); return err }, rpctypes.ErrPeerURLExist},
		"promotion before it is there": {func() error { _, err := c.MemberPromote(ctx, id); return err }, rpctypes.ErrMemberLearnerNotReady},
		"promotion of a voter":         {func() error { _, err := c.MemberPromote(ctx, members[0].Status().ID); return err }, rpctypes.ErrMemberNotLearner},
		"promotion of nobody":          {func() error { _, err := c.MemberPromote(ctx, 99); return err }, rpctypes.ErrMemberNotFound},
		"removal of nobody":            {func() error { _, err := c.MemberRemove(ctx, 99); return err }, rpctypes.ErrMemberNotFound},
		"update of nobody":             {func() error { _, err := c.MemberUpdate(ctx, 99, []string{url}); return err }, rpctypes.ErrMemberNotFound},
		"update to another's URL": {func() error {
			_, err := c.MemberUpdate(ctx, id, []string{"http://" + members[0].Identity().PeerAddress})
			return err
		}, rpctypes.ErrPeerURLExist},
	} {
		if err := refused.change(); !errors.Is(err, refused.want) {
			t.Errorf("%s: %v, want %v", what, err, refused.want)
		}
	}
	learner := startAdded(t, ca, members, id, "m3", l)
	checkLearner(t, learner, c)

	until(t, "its promotion", func() bool {
		_, err := c.MemberPromote(ctx, id)
		if err != nil && !errors.Is(err, rpctypes.ErrMemberLearnerNotReady) {
			t.Fatal(err)
		}
		return err == nil
	})
	until(t, "it to serve", func() bool {
		_, err := connect(t, learner.address).Put(ctx, "key", "by the new member")
		return err == nil
	})
	removed, err := c.MemberRemove(ctx, id)
	if err != nil || len(removed.Members) != 3 {
		t.Errorf("%v, %v", removed, err)
	}
	list, err := c.MemberList(ctx)
	if err != nil || len(list.Members) != 3 {
		t.Errorf("%v, %v", list, err)
	}
}

// checkLearner: a learner serves its status and serializable reads, and refuses the rest.
func checkLearner(t *testing.T, learner *servedMember, c *clientv3.Client) {
	t.Helper()
	ctx := t.Context()
	if _, err := c.Put(ctx, "key", "value"); err != nil {
		t.Fatal(err)
	}
	at := connect(t, learner.address)
	until(t, "the learner to catch up", func() bool {
		got, err := at.Get(ctx, "key", clientv3.WithSerializable())
		return err == nil && len(got.Kvs) == 1
	})
	until(t, "the learner to know that it is one", learner.IsLearner)
	if status, err := at.Status(ctx, learner.address); err != nil || !status.IsLearner {
		t.Errorf("status: %v, %v", status, err)
	}
	for what, call := range map[string]func() error{
		"get":         func() error { _, err := at.Get(ctx, "key"); return err },
		"put":         func() error { _, err := at.Put(ctx, "key", "value"); return err },
		"transaction": func() error { _, err := at.Txn(ctx).Commit(); return err },
		"grant":       func() error { _, err := at.Grant(ctx, 10); return err },
		"member list": func() error { _, err := at.MemberList(ctx); return err },
		"watch": func() error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			stream, err := pb.NewWatchClient(at.ActiveConnection()).Watch(ctx)
			if err == nil {
				_, err = stream.Recv()
			}
			return rpctypes.Error(err)
		},
	} {
		if err := call(); !errors.Is(err, rpctypes.ErrGRPCNotSupportedForLearner) && !errors.Is(err, rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner)) {
			t.Errorf("%s at a learner: %v", what, err)
		}
	}
}

func TestMembersMaintenance(t *testing.T) {
	_, members := startMembersOf(t, 3)
	c := connect(t, members[0].address)
	ctx := t.Context()
	for range 20 {
		if _, err := c.Put(ctx, "key", "value"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Compact(ctx, 10); err != nil {
		t.Fatal(err)
	}
	sums := map[uint32]bool{}
	for _, m := range members {
		until(t, "the compaction to be applied", func() bool { return m.Status().Store.CompactRevision == 10 })
		hash, err := c.HashKV(ctx, m.address, 15)
		if err != nil || hash.CompactRevision != 10 || hash.HashRevision != 15 || hash.Header.Revision != 21 {
			t.Fatalf("%v, %v", hash, err)
		}
		sums[hash.Hash] = true
		if _, err := c.HashKV(ctx, m.address, 9); !errors.Is(err, rpctypes.ErrCompacted) {
			t.Errorf("a hash of what is compacted: %v", err)
		}
		if _, err := c.Defragment(ctx, m.address); err != nil {
			t.Error(err)
		}
		status, err := c.Status(ctx, m.address)
		if err != nil || status.Version != version.Version || status.StorageVersion != "3.7.0" || status.DbSize == 0 || status.DbSizeInUse == 0 ||
			status.Leader == 0 || status.RaftIndex == 0 || status.RaftAppliedIndex == 0 || status.RaftTerm == 0 || len(status.Errors) != 0 || status.DowngradeInfo.Enabled {
			t.Errorf("%v, %v", status, err)
		}
	}
	if len(sums) != 1 {
		t.Errorf("the hashes differ: %v", sums)
	}
	checkMoveLeader(t, members)
	checkDowngrade(t, c)
}

func checkMoveLeader(t *testing.T, members []*servedMember) {
	t.Helper()
	var leader, other *servedMember
	for _, m := range members {
		if s := m.Status(); s.Leader == s.ID {
			leader = m
		} else {
			other = m
		}
	}
	target := other.Status().ID
	if _, err := connect(t, other.address).MoveLeader(t.Context(), target); !errors.Is(err, rpctypes.ErrNotLeader) {
		t.Errorf("at a follower: %v", err)
	}
	c := connect(t, leader.address)
	if _, err := c.MoveLeader(t.Context(), 99); !errors.Is(err, rpctypes.ErrBadLeaderTransferee) {
		t.Errorf("to nobody: %v", err)
	}
	if _, err := c.MoveLeader(t.Context(), target); err != nil || leader.Status().Leader != target {
		t.Errorf("leader %x, %v", leader.Status().Leader, err)
	}
}

func checkDowngrade(t *testing.T, c *clientv3.Client) {
	t.Helper()
	ctx := t.Context()
	if _, err := c.Downgrade(ctx, clientv3.DowngradeEnable, "3.6.0"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Downgrade(ctx, clientv3.DowngradeValidate, "3.6.0"); !errors.Is(err, rpctypes.ErrDowngradeInProcess) {
		t.Errorf("while one is announced: %v", err)
	}
	if status, err := c.Status(ctx, c.Endpoints()[0]); err != nil || !status.DowngradeInfo.Enabled || status.DowngradeInfo.TargetVersion != "3.6.0" {
		t.Errorf("%v, %v", status.DowngradeInfo, err)
	}
	if _, err := c.Downgrade(ctx, clientv3.DowngradeCancel, ""); err != nil {
		t.Error(err)
	}
}

func TestLimitsAreOptions(t *testing.T) {
	b := newLocalBackend(t)
	c := connect(t, serve(t, b, ServerConfig{MaxRequestBytes: 4 << 20}, Options{MaxRequestBytes: 4 << 20, MaxTxnOps: 200}))
	ctx := t.Context()
	put := func(size int) error {
		_, err := pb.NewKVClient(c.ActiveConnection()).Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: make([]byte, size)})
		return err
	}
	if err := put(4<<20 - 100); err != nil {
		t.Errorf("below the limit: %v", err)
	}
	if err := put(4 << 20); !errors.Is(err, rpctypes.ErrGRPCRequestTooLarge) {
		t.Errorf("above the limit: %v", err)
	}
	ops := make([]clientv3.Op, 200)
	for i := range ops {
		ops[i] = clientv3.OpGet("k")
	}
	if _, err := c.Txn(ctx).Then(ops...).Commit(); err != nil {
		t.Error(err)
	}
	if _, err := c.Txn(ctx).Then(append(ops, clientv3.OpGet("k"))...).Commit(); !errors.Is(err, rpctypes.ErrTooManyOps) {
		t.Errorf("above the limit: %v", err)
	}
}
