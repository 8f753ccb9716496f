package raftstore

import (
	"context"
	"errors"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestMemberShowsWhatItHasAnswered: after a put through a follower, that follower's own state was read without it, its headers
// were at an earlier revision, and its hash and backups were of an earlier state.
func TestMemberShowsWhatItHasAnswered(t *testing.T) {
	c := newTestCluster(t, 3, func(config *Config) {
		config.HeartbeatTimeout = testWait // nobody else is elected
		config.RequestTimeout = time.Second
	})
	follower := c.follower()
	follower.put("key", "old")
	heal := follower.partition() // from Raft; the leader is still asked
	defer heal()
	put, err := follower.Put(testContext(t), &pb.PutRequest{Key: []byte("key"), Value: []byte("new")})
	if err != nil {
		t.Fatal(err)
	}
	if have := follower.machine.Store().Revision(); have >= put.Header.Revision {
		t.Fatalf("the follower has applied revision %d already", have)
	}
	if now := follower.Header().Revision; now < put.Header.Revision {
		t.Errorf("a header is at revision %d after %d was answered", now, put.Header.Revision)
	}
	read := &pb.RangeRequest{Key: []byte("key"), Serializable: true}
	for what, ask := range map[string]func(context.Context) error{
		"a range":       func(ctx context.Context) error { _, err := follower.Range(ctx, read); return err },
		"a hash":        func(ctx context.Context) error { _, err := follower.HashKV(ctx, 0); return err },
		"a backup":      func(ctx context.Context) error { _, err := follower.Backup(ctx, BackupNative); return err },
		"a transaction": func(ctx context.Context) error { _, err := follower.Txn(ctx, serializableTxn(read)); return err },
		"a stream": func(ctx context.Context) error {
			return follower.RangeStream(ctx, read, 1<<20, func(*pb.RangeResponse) error { return nil })
		},
	} {
		if err := ask(testContext(t)); !errors.Is(err, ErrBehind) {
			t.Errorf("%s of a state that lacks what was answered: %v", what, err)
		}
	}
	if err := follower.ReadState(testContext(t)); err != nil {
		t.Errorf("the state can be read as it is, and: %v", err)
	}
	seen := make(chan string, 1)
	go func() {
		for {
			r, err := follower.Range(testContext(t), read)
			if errors.Is(err, ErrBehind) {
				continue
			}
			if err != nil || len(r.Kvs) != 1 {
				seen <- "nothing"
				return
			}
			seen <- string(r.Kvs[0].Value)
			return
		}
	}()
	heal()
	if value := <-seen; value != "new" {
		t.Errorf("the follower's own state has %q after %q was answered", value, "new")
	}
}

func serializableTxn(read *pb.RangeRequest) *pb.TxnRequest {
	return &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: read}}}}
}
