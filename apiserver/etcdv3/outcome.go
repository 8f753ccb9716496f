package etcdv3

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
	"github.com/ctlplane/ctlplane/raftstore"
)

// ownTime keeps from etcd's clients that a time other than theirs was over: they take it for the end of one attempt and make the
// next, up to a hundred, also of a write that may have been made. What they are told instead has them repeat reads alone.
func ownTime(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	response, err := handler(ctx, request)
	if code := codeOf(err); (code == codes.DeadlineExceeded || code == codes.Canceled) && ctx.Err() == nil && isEtcds(info.FullMethod) {
		return nil, rpcerr.ToStatus(raftstore.ErrOutcomeUnknown)
	}
	return response, err
}

// isEtcds tells whether a method is of a service that etcd has.
func isEtcds(fullMethod string) bool {
	for _, service := range [...]string{"/etcdserverpb.", "/v3lockpb.", "/v3electionpb."} {
		if strings.HasPrefix(fullMethod, service) {
			return true
		}
	}
	return false
}
