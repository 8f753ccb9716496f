package raftstore

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	testclock "k8s.io/utils/clock/testing"

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

// TestSlowRequestIsNamed: of a batch, the log gets the command that took too long, with its key and sizes, and no value.
func TestSlowRequestIsNamed(t *testing.T) {
	var logged bytes.Buffer
	clock := testclock.NewFakeClock(time.Unix(0, 0))
	slow := slowApplies{limit: 100 * time.Millisecond, logger: slog.New(slog.NewTextHandler(&logged, nil)), now: clock.Now}
	put, txn := putCommand("quick", "secret"), kv.Command{Txn: secretTxn("guilty")}
	batch := []kv.Entry{{Commands: []kv.Command{put, txn}}, {Commands: []kv.Command{put}}}
	apply := func(batch []kv.Entry, times ...time.Duration) (line string, tooLong bool) {
		logged.Reset()
		slow.begin(batch)
		var sum time.Duration
		for i := range batch {
			for j := range batch[i].Commands {
				clock.Step(times[0])
				sum += times[0]
				times = times[1:]
				slow.carriedOut(&batch[i].Commands[j], kv.Result{Response: &pb.TxnResponse{Succeeded: true}})
			}
		}
		tooLong = slow.end(batch, sum+times[0], nil)
		if strings.Contains(logged.String(), "secret") || strings.Count(logged.String(), "\n") > 1 {
			t.Errorf("logged %s", &logged)
		}
		return logged.String(), tooLong
	}
	ms := time.Millisecond
	if line, tooLong := apply(batch, 30*ms, 30*ms, 30*ms, 10*ms); tooLong || line != "" {
		t.Errorf("in time: %v, %s", tooLong, line)
	}
	line, tooLong := apply(batch, ms, 101*ms, ms, ms)
	for _, want := range []string{"apply request took too long", "took=101ms", "expected-duration=100ms", "txn:<", "guilty", "value_size:6", "response=size:2"} {
		if !strings.Contains(line, want) || !tooLong {
			t.Errorf("a slow transaction: %v, %s lacks %s", tooLong, line, want)
		}
	}
	if line, tooLong = apply(batch, ms, ms, ms, 200*ms); !tooLong || !strings.Contains(line, "3 requests in 2 entries") {
		t.Errorf("a slow disk: %v, %s", tooLong, line)
	}
	one := []kv.Entry{{Commands: []kv.Command{put}}}
	if line, tooLong = apply(one, ms, 200*ms); !tooLong || !strings.Contains(line, "quick") || !strings.Contains(line, "value_size:6") {
		t.Errorf("a slow put: %v, %s", tooLong, line)
	}
	slow.limit = -1
	if line, tooLong = apply(batch, ms, 101*ms, ms, ms); tooLong || line != "" {
		t.Errorf("nobody asked: %v, %s", tooLong, line)
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

func TestLongRequestsAreCut(t *testing.T) {
	got := describeCommand(&kv.Command{DeleteRange: &pb.DeleteRangeRequest{Key: bytes.Repeat([]byte("k"), 1<<20)}})
	if len(got) > describedBytes+50 || !strings.Contains(got, "bytes more") {
		t.Errorf("%d bytes: %.50s", len(got), got)
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
