// Package rpcerr says the errors of the store and of its members in etcd's words: with the gRPC codes and texts by which
// etcd's clients tell what has happened, and whether to try again.
//
// Invariants:
//  1. Every kv.ErrorCode has a status of its own, with the text that it has in the store.
//  2. A write whose outcome is not known is answered as unavailable, after which etcd's clients try no write again.
//
// All of it is read only: it may be used by any number of goroutines.
package rpcerr

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore"
)

// codeErrors are etcd's errors for the store's, with the codes and texts that its clients tell apart.
var codeErrors = map[kv.ErrorCode]error{
	kv.ErrCompacted:          rpctypes.ErrGRPCCompacted,
	kv.ErrFutureRevision:     rpctypes.ErrGRPCFutureRev,
	kv.ErrLeaseNotFound:      rpctypes.ErrGRPCLeaseNotFound,
	kv.ErrLeaseExists:        rpctypes.ErrGRPCLeaseExist,
	kv.ErrKeyNotFound:        rpctypes.ErrGRPCKeyNotFound,
	kv.ErrDuplicateKey:       rpctypes.ErrGRPCDuplicateKey,
	kv.ErrTooManyOps:         rpctypes.ErrGRPCTooManyOps,
	kv.ErrEmptyKey:           rpctypes.ErrGRPCEmptyKey,
	kv.ErrLeaseTTLTooLarge:   rpctypes.ErrGRPCLeaseTTLTooLarge,
	kv.ErrNoSpace:            rpctypes.ErrGRPCNoSpace,
	kv.ErrValueProvided:      rpctypes.ErrGRPCValueProvided,
	kv.ErrLeaseProvided:      rpctypes.ErrGRPCLeaseProvided,
	kv.ErrInvalidSortOption:  rpctypes.ErrGRPCInvalidSortOption,
	kv.ErrMemberExists:       rpctypes.ErrGRPCMemberExist,
	kv.ErrMemberNotFound:     rpctypes.ErrGRPCMemberNotFound,
	kv.ErrMemberRemoved:      rpctypes.ErrGRPCMemberNotFound,
	kv.ErrDowngradeInProcess: rpctypes.ErrGRPCDowngradeInProcess,
	kv.ErrNoDowngrade:        rpctypes.ErrGRPCNoInflightDowngrade,
	kv.ErrCorrupt:            rpctypes.ErrGRPCCorrupt,

	kv.ErrRootUserNotExist:     rpctypes.ErrGRPCRootUserNotExist,
	kv.ErrRootRoleNotExist:     rpctypes.ErrGRPCRootRoleNotExist,
	kv.ErrUserExists:           rpctypes.ErrGRPCUserAlreadyExist,
	kv.ErrUserEmpty:            rpctypes.ErrGRPCUserEmpty,
	kv.ErrUserNotFound:         rpctypes.ErrGRPCUserNotFound,
	kv.ErrRoleExists:           rpctypes.ErrGRPCRoleAlreadyExist,
	kv.ErrRoleNotFound:         rpctypes.ErrGRPCRoleNotFound,
	kv.ErrRoleEmpty:            rpctypes.ErrGRPCRoleEmpty,
	kv.ErrAuthFailed:           rpctypes.ErrGRPCAuthFailed,
	kv.ErrPermissionNotGiven:   rpctypes.ErrGRPCPermissionNotGiven,
	kv.ErrPermissionDenied:     rpctypes.ErrGRPCPermissionDenied,
	kv.ErrRoleNotGranted:       rpctypes.ErrGRPCRoleNotGranted,
	kv.ErrPermissionNotGranted: rpctypes.ErrGRPCPermissionNotGranted,
	kv.ErrAuthNotEnabled:       rpctypes.ErrGRPCAuthNotEnabled,
	kv.ErrInvalidAuthToken:     rpctypes.ErrGRPCInvalidAuthToken,
	kv.ErrInvalidAuthMgmt:      rpctypes.ErrGRPCInvalidAuthMgmt,
	kv.ErrAuthOldRevision:      rpctypes.ErrGRPCAuthOldRevision,

	kv.ErrInvalidRange:   status.Error(codes.InvalidArgument, kv.ErrInvalidRange.Error()),
	kv.ErrInvalidCommand: status.Error(codes.InvalidArgument, kv.ErrInvalidCommand.Error()),
}

// memberErrors are etcd's errors for those of a member. An unknown outcome is unavailable: etcd's clients don't try a write
// again that ended so, as they do after the end of a context.
var memberErrors = []struct{ from, to error }{
	{raftstore.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
	{raftstore.ErrOutcomeUnknown, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{raftstore.ErrTooManyRequests, rpctypes.ErrGRPCRequestTooManyRequests},
	{raftstore.ErrBehind, status.Error(codes.Unavailable, raftstore.ErrBehind.Error())},
	{raftstore.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{raftstore.ErrPeerURLExists, rpctypes.ErrGRPCPeerURLExist},
	{raftstore.ErrBadPeerURLs, rpctypes.ErrGRPCMemberBadURLs},
	{raftstore.ErrNotEnoughStarted, rpctypes.ErrGRPCMemberNotEnoughStarted},
	{raftstore.ErrNotLearner, rpctypes.ErrGRPCMemberNotLearner},
	{raftstore.ErrLearnerNotReady, rpctypes.ErrGRPCLearnerNotReady},
	{raftstore.ErrTooManyLearners, rpctypes.ErrGRPCTooManyLearners},
	{raftstore.ErrUnsafe, rpctypes.ErrGRPCUnhealthy},
	{raftstore.ErrNotLeader, rpctypes.ErrGRPCNotLeader},
	{raftstore.ErrBadTransferee, rpctypes.ErrGRPCBadLeaderTransferee},
	{raftstore.ErrTransfereeHangs, status.Error(codes.FailedPrecondition, "etcdserver: bad leader transferee: "+raftstore.ErrTransfereeHangs.Error())},
	{raftstore.ErrTransferTimeout, status.Error(codes.Unknown, "etcdserver: request timed out, leader transfer took too long")},
	{raftstore.ErrBadVersion, rpctypes.ErrGRPCWrongDowngradeVersionFormat},
	{raftstore.ErrBadDowngrade, rpctypes.ErrGRPCInvalidDowngradeTargetVersion},
	{raftstore.ErrUnknownMethod, status.Error(codes.Unknown, "etcdserver: unknown method")},
	{raftstore.ErrClosed, rpctypes.ErrGRPCStopped},
	{raftstore.ErrRemoved, rpctypes.ErrGRPCStopped},
	{kv.ErrClosed, rpctypes.ErrGRPCStopped},
	{kv.ErrStreamClosed, rpctypes.ErrGRPCStopped},
	{context.Canceled, rpctypes.ErrGRPCCanceled},
	{context.DeadlineExceeded, rpctypes.ErrGRPCDeadlineExceeded},
}

// ToStatus is err as etcd's clients expect it.
func ToStatus(err error) error {
	var code kv.ErrorCode
	if errors.As(err, &code) {
		if known, ok := codeErrors[code]; ok {
			return known
		}
		return status.Error(codes.Unknown, err.Error())
	}
	for _, e := range memberErrors {
		if errors.Is(err, e.from) {
			return e.to
		}
	}
	var withStatus interface{ GRPCStatus() *status.Status }
	if errors.As(err, &withStatus) {
		return withStatus.GRPCStatus().Err()
	}
	return status.Error(codes.Unknown, err.Error())
}
