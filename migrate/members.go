package migrate

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// ownAddress is the stream of a MemberList whose answer is given other client URLs.
type ownAddress struct {
	grpc.ServerStream
	urls []string
}

// SendMsg implements grpc.ServerStream.
func (s *ownAddress) SendMsg(message any) error {
	f, ok := message.(*frame)
	if !ok {
		return fmt.Errorf("%T is no frame", message)
	}
	list := &pb.MemberListResponse{}
	if err := proto.Unmarshal(f.data.Materialize(), list); err != nil {
		return fmt.Errorf("the old etcd's list of members can't be read: %w", err)
	}
	f.data.Free()
	for _, member := range list.Members {
		member.ClientURLs = s.urls
	}
	content, err := proto.Marshal(list)
	if err != nil {
		return err
	}
	f.data = mem.BufferSlice{mem.SliceBuffer(content)}
	return s.ServerStream.SendMsg(f)
}
