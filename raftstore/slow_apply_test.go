package raftstore

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

// secretTxn has values in all places where a transaction can have one.
func secretTxn(key string) *pb.TxnRequest {
	put := putOp(key, "secret")
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: []byte(key), Target: pb.Compare_VALUE, Result: pb.Compare_NOT_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte("secret")},
		}},
		Success: []*pb.RequestOp{put, {Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Failure: []*pb.RequestOp{putOp(key+"2", "secret")}}}}},
		Failure: []*pb.RequestOp{put},
	}
}

// TestSlowRequestsOfAMember: every kind of request of a member that finds everything slow is in its log.
func TestSlowRequestsOfAMember(t *testing.T) {
	var logged lockedBuffer
	c := newTestCluster(t, 1, func(config *Config) {
		config.SlowApply, config.Logger = 1, slog.New(slog.NewTextHandler(&logged, nil))
	})
	m, ctx := c.members[0], testContext(t)
	m.put("a key", "secret")
	key := &pb.RangeRequest{Key: []byte("a key")}
	_, txn := m.Txn(ctx, secretTxn("another"))
	_, read := m.Range(ctx, key)
	_, readTxn := m.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: key}}}})
	_, deleted := m.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("a key"), PrevKv: true})
	_, granted := m.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 60, ID: 7})
	_, user := m.Propose(ctx, kv.Command{Auth: &pb.AuthUserAddRequest{Name: "user", HashedPassword: "secret"}})
	for _, err := range []error{txn, read, readTxn, deleted, granted, user} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{
		"put:<", "txn:<", "delete_range:<", "lease_grant:<ttl:60-second id:0000000000000007>", "auth:<AuthUserAddRequest>", "member:<id:",
		`prefix="read-only range "`, `prefix="read-only txn "`, "range_response_count:1", "a key", "another",
	} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("no line has %s", want)
		}
	}
	if strings.Contains(logged.String(), "secret") {
		t.Errorf("a value is logged: %s", logged.String())
	}
}

// lockedBuffer takes lines of several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}
