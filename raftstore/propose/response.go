package propose

import (
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// newAuthResponse makes an empty response to a change of users and roles: etcd names them after their requests.
func newAuthResponse(request proto.Message) proto.Message {
	if _, ok := request.(*pb.InternalAuthenticateRequest); ok {
		return new(pb.AuthenticateResponse)
	}
	name := string(request.ProtoReflect().Descriptor().FullName())
	kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(strings.TrimSuffix(name, "Request") + "Response"))
	if err != nil {
		return new(pb.AuthStatusResponse) // a request that this version does not know: it has none of its responses either
	}
	return kind.New().Interface()
}
