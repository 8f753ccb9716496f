package raftstore

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv"
)

// A follower that was away while users were made gets them with the snapshot, and holds to them.
func TestUsersComeWithASnapshot(t *testing.T) {
	c := newTestCluster(t, 3, smallLogs)
	follower := c.follower()
	last := follower.machine.Store().AppliedIndex()
	heal := follower.partition()
	leader := c.leader()
	for _, change := range []proto.Message{
		&pb.AuthUserAddRequest{Name: "root", HashedPassword: base64.StdEncoding.EncodeToString([]byte("hash"))},
		&pb.AuthUserGrantRoleRequest{User: "root", Role: "root"},
		&pb.AuthEnableRequest{},
		&pb.InternalAuthenticateRequest{Name: "root", SimpleToken: kv.HashAuthToken("token")},
	} {
		if result, err := leader.Propose(testContext(t), kv.Command{Auth: change}); err != nil || result.Err != nil {
			t.Fatal(result.Err, err)
		}
	}
	for i := 0; ; i++ {
		leader.put(fmt.Sprint("key", i), "value")
		if first, _ := leader.stores.Log.FirstIndex(); first > last+64 {
			break
		}
	}
	if user, ok := leader.UseAuthToken("token", time.Hour); !ok || user != "root" {
		t.Errorf("the token is that of %q: %v", user, ok)
	}
	heal()
	leader.put("last", "value")
	follower.wantValue("last", "value")
	if newest, err := follower.snapshots.Newest(); err != nil || newest == nil {
		t.Fatal("the follower did not get a snapshot", err)
	}
	if a := follower.Auth(); !a.Enabled() || a.Revision() != leader.Auth().Revision() || a.User("root") == nil {
		t.Errorf("enabled %v at revision %d", a.Enabled(), a.Revision())
	}
	result, err := follower.Propose(testContext(t), kv.Command{Put: &pb.PutRequest{Key: []byte("k")}, Caller: kv.Anonymous})
	if err != nil || result.Err != kv.ErrUserEmpty {
		t.Errorf("forwarded for nobody: %v, %v", result.Err, err)
	}
	root := &kv.Caller{User: "root", AuthRevision: follower.Auth().Revision()}
	result, err = follower.Propose(testContext(t), kv.Command{Put: &pb.PutRequest{Key: []byte("k")}, Caller: root})
	if err != nil || result.Err != nil {
		t.Errorf("forwarded for root: %v, %v", result.Err, err)
	}
}
