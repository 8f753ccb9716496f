package raftstore

import (
	"errors"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// patient members keep their leader also while a busy machine holds it up.
func patient(config *Config) { config.HeartbeatTimeout = 20 * time.Second }

// largeTxn writes a key and reads others so often that its answer has some 200 MiB.
func largeTxn(m *testMember) *pb.TxnRequest {
	m.cluster.t.Helper()
	const valueBytes, answerBytes = 1 << 20, 200 << 20
	for _, key := range []string{"large/1", "large/2"} {
		if _, err := m.Put(testContext(m.cluster.t), &pb.PutRequest{Key: []byte(key), Value: make([]byte, valueBytes)}); err != nil {
			m.cluster.t.Fatal(err)
		}
	}
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{putOp("written", "value")}}
	for range answerBytes / (2 * valueBytes) {
		txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{Key: []byte("large/"), RangeEnd: []byte("large0")},
		}})
	}
	return txn
}

func putOp(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}
}

// TestLargeAnswerPassesBetweenMembers: the answer to a transaction through a follower may be larger than any one message
// between members, and the writes of others that are under way beside it are answered as ever.
func TestLargeAnswerPassesBetweenMembers(t *testing.T) {
	c := newTestCluster(t, 3, patient)
	follower := c.follower()
	txn := largeTxn(follower)

	var writers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		writers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := follower.Put(testContext(t), &pb.PutRequest{Key: []byte("other"), Value: []byte("value")}); err != nil {
					t.Errorf("a write of another client: %v", err)
					return
				}
			}
		})
	}
	r, err := follower.Txn(testContext(t), txn)
	close(done)
	writers.Wait()
	if err != nil {
		t.Fatalf("through a follower: %v", err)
	}
	if len(r.Responses) != len(txn.Success) {
		t.Fatalf("%d responses, want %d", len(r.Responses), len(txn.Success))
	}
	for i, response := range r.Responses[1:] {
		kvs := response.GetResponseRange().GetKvs()
		if len(kvs) != 2 || len(kvs[0].Value) != 1<<20 || string(kvs[1].Key) != "large/2" {
			t.Fatalf("response %d has %d keys", i+1, len(kvs))
		}
	}
	follower.wantValue("written", "value")
}

// TestLargeCommandPassesBetweenMembers: a command that only the leader finds too large is refused alone, however large it is.
func TestLargeCommandPassesBetweenMembers(t *testing.T) {
	const size = 70 << 20
	c := newTestCluster(t, 2, patient)
	follower := c.follower()
	follower.Member.config.MaxCommandBytes = 2 * size
	follower.put("key", "value")
	streams := follower.proposer.Stats().Streams
	if _, err := follower.Put(testContext(t), &pb.PutRequest{Key: []byte("key"), Value: make([]byte, size)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("larger than the leader takes: %v", err)
	}
	follower.put("key", "value")
	if follower.proposer.Stats().Streams != streams {
		t.Error("the stream to the leader broke")
	}
}
