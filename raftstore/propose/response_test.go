package propose

import (
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv"
)

// A follower decodes each answer of the leader as what it is.
func TestResponsesOfForwardedCommands(t *testing.T) {
	for _, c := range []struct {
		command kv.Command
		want    proto.Message
	}{
		{kv.Command{Put: &pb.PutRequest{}}, &pb.PutResponse{}},
		{kv.Command{Auth: &pb.AuthEnableRequest{}}, &pb.AuthEnableResponse{}},
		{kv.Command{Auth: &pb.AuthUserAddRequest{}}, &pb.AuthUserAddResponse{}},
		{kv.Command{Auth: &pb.AuthUserChangePasswordRequest{}}, &pb.AuthUserChangePasswordResponse{}},
		{kv.Command{Auth: &pb.AuthRoleRevokePermissionRequest{}}, &pb.AuthRoleRevokePermissionResponse{}},
		{kv.Command{Auth: &pb.InternalAuthenticateRequest{}}, &pb.AuthenticateResponse{}},
	} {
		if got := fmt.Sprintf("%T", newResponse(&c.command)); got != fmt.Sprintf("%T", c.want) {
			t.Errorf("%T, want %T", newResponse(&c.command), c.want)
		}
	}
}
