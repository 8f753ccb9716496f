package etcdv3

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protojson"
)

// TestMaintenanceAnswersAsJSON: clients of the gateway find the fields that etcd's answers have, of an empty store as well.
func TestMaintenanceAnswersAsJSON(t *testing.T) {
	c := pb.NewMaintenanceClient(newClient(t).ActiveConnection())
	hash, err := c.Hash(t.Context(), &pb.HashRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if hash.Hash == 0 { // JSON would leave it out
		t.Errorf("the hash of an empty store is %v", hash)
	}
	defragmented, err := c.Defragment(t.Context(), &pb.DefragmentRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := protojson.Format(defragmented); got != "{}" {
		t.Errorf("the answer of Defragment is %s", got)
	}
}
