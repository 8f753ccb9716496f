package raftstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

func putCommand(key, value string) kv.Command {
	return kv.Command{Put: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}
}

// TestCommandsKeepTheirOrder sends a pipeline of writes through each member; each gets its own result, and
// revisions in the order of sending.
func TestCommandsKeepTheirOrder(t *testing.T) {
	c := newTestCluster(t, 3, func(config *Config) { config.MaxEntryBytes = 1000 }) // many small entries
	for _, m := range []*testMember{c.leader(), c.follower()} {
		const commands = 2000
		revisions := make([]int64, commands)
		var wg sync.WaitGroup
		wg.Add(commands)
		for i := range commands {
			m.ProposeAsync(testContext(t), putCommand("key", fmt.Sprint(i)), func(result kv.Result, err error) {
				defer wg.Done()
				if err != nil {
					t.Error(err)
					return
				}
				header := result.Response.(*pb.PutResponse).Header
				revisions[i] = header.Revision
				if header.MemberId != m.config.Identity.MemberID || header.RaftTerm == 0 {
					t.Errorf("header %v", header)
				}
			})
		}
		wg.Wait()
		for i := 1; i < commands; i++ {
			if revisions[i] != revisions[i-1]+1 {
				t.Fatalf("command %d got revision %d, the one before it %d", i, revisions[i], revisions[i-1])
			}
		}
		m.wantValue("key", fmt.Sprint(commands-1))
	}
}

func TestCommandsErrorsAreTheirOwn(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	for _, m := range []*testMember{c.leader(), c.follower()} {
		for _, test := range []struct {
			name    string
			command kv.Command
			want    error
		}{
			{"empty key", putCommand("", "x"), kv.ErrEmptyKey},
			{"lease that does not exist", kv.Command{Put: &pb.PutRequest{Key: []byte("key"), Lease: 99}}, kv.ErrLeaseNotFound},
			{"future compaction", kv.Command{Compact: &pb.CompactionRequest{Revision: 1 << 40}}, kv.ErrFutureRevision},
		} {
			result, err := m.Propose(testContext(t), test.command)
			if err != nil || !errors.Is(result.Err, test.want) {
				t.Errorf("%s: %v, %v", test.name, result.Err, err)
			}
		}
		if _, err := m.Propose(testContext(t), putCommand("key", strings.Repeat("x", 3<<20))); !errors.Is(err, ErrTooLarge) {
			t.Errorf("too large: %v", err)
		}
		r, err := m.Txn(testContext(t), &pb.TxnRequest{Success: []*pb.RequestOp{{
			Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("key")}},
		}}})
		if err != nil || !r.Succeeded || r.Header.ClusterId != 1 {
			t.Errorf("read-only transaction: %v, %v", r, err)
		}
	}
}

func TestClosedMember(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	m := c.members[0].Member
	leadership := m.Leadership()
	for !<-leadership {
	}
	c.members[0].stop()
	for leads := range leadership { // closed when the member is
		if leads {
			t.Error("a closed member leads")
		}
	}
	if _, err := m.Put(testContext(t), &pb.PutRequest{Key: []byte("key")}); !errors.Is(err, ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if _, err := m.Range(testContext(t), &pb.RangeRequest{Key: []byte("key")}); !errors.Is(err, ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if err := m.Close(context.Background()); err != nil {
		t.Errorf("second close: %v", err)
	}
}
